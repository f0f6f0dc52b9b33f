# bash completion for svcctl

_svcctl() {
    local current=${COMP_WORDS[COMP_CWORD]} command="" options="" word folder file
    local folders=(/etc/svc /run/svc /usr/local/lib/svc/apps /usr/lib/svc/apps) names=()
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            --user) folders=(~/.config/svc "${XDG_RUNTIME_DIR:-/nonexistent}/svc" /etc/svc/user) ;;
            -*) ;;
            *) command=${command:-$word} ;;
        esac
    done
    case $command in
        "") options="--help --version --user"; names=(check render reload status list) ;;
        render) options="--help --output --systemd-version" ;;
        reload) options="--help --abort" ;;
        *) options="--help" ;;
    esac
    if [[ ${COMP_WORDS[COMP_CWORD-1]} == --output ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
    fi
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
        return
    fi
    if [[ $command == @(check|render|reload|status) ]]; then
        for folder in "${folders[@]}"; do
            for file in "$folder"/*.toml; do
                file=${file##*/} file=${file%.toml}
                # compgen -W expands its words, $(...) too: only what can name an app.
                [[ $file =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] && names+=("$file")
            done
        done
    fi
    mapfile -t COMPREPLY < <(compgen -W "${names[*]}" -- "$current")
}

complete -F _svcctl svcctl
