# bash completion for svcctl

_svcctl() {
    local current=${COMP_WORDS[COMP_CWORD]} folder file names=""
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--help --version --user --output --systemd-version --abort" -- "$current")
        return
    fi
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "check render reload status list" -- "$current")
        return
    fi
    for folder in /etc/svc /run/svc /usr/local/lib/svc/apps /usr/lib/svc/apps ~/.config/svc; do
        for file in "$folder"/*.toml; do
            [[ -e $file ]] && names+=" $(basename "$file" .toml)"
        done
    done
    mapfile -t COMPREPLY < <(compgen -W "$names" -- "$current")
}

complete -F _svcctl svcctl
