# make install, make uninstall. No network; nothing is started; under DESTDIR systemd is not told.

PREFIX  ?= /usr/local
DESTDIR ?=

LIBDIR  ?= $(PREFIX)/lib/svc
BINDIR  ?= $(PREFIX)/bin
MANDIR  ?= $(PREFIX)/share/man
DOCDIR  ?= $(PREFIX)/share/doc/svc
SYSCONFDIR ?= /etc

# The control side runs under the distribution's interpreter. To install it takes jinja2 there, to run it does not.
SYSTEM_PYTHON ?= /usr/bin/python3

# systemd knows its own folders. For a prefix that is not the distribution's it is asked with that
# prefix in place of its own (systemd reads generators below /usr/local as well).
systemd_variable = $(shell pkg-config $(if $(filter /usr,$(PREFIX)),,--define-variable=prefix=$(PREFIX) \
	--define-variable=root_prefix=$(PREFIX) --define-variable=rootprefix=$(PREFIX)) --variable=$(1) systemd)
SYSTEM_GENERATOR_DIR ?= $(call systemd_variable,systemdsystemgeneratordir)
USER_GENERATOR_DIR   ?= $(call systemd_variable,systemdusergeneratordir)
CATALOG_DIR          ?= $(PREFIX)/lib/systemd/catalog
COMPLETIONS_DIR      ?= $(PREFIX)/share/bash-completion/completions

# Only what git would ship: no bytecode of a developer's.
python_files = $(shell find svc -name '*.py' -o -name py.typed)

# A script finds the package where it was installed, not where it was checked out.
install_script = sed 's|^sys.path.insert.*|sys.path.insert(0, "$(LIBDIR)/python")|' $(1) >"$(DESTDIR)$(2)/.svc-new" && \
	chmod 755 "$(DESTDIR)$(2)/.svc-new" && mv "$(DESTDIR)$(2)/.svc-new" "$(DESTDIR)$(2)/$(notdir $(1))"

# Byte code goes by what a source says, not by its date: packages and images change dates, and neither a generator
# nor a worker could write it anew.
compiled = --invalidation-mode checked-hash
# Workers start and generators run while a new version is installed over the one in use: they find the one or the
# other, whole. So it is made beside the old one, and the two change places in a moment.
new = $(DESTDIR)$(LIBDIR)/.new
old = $(DESTDIR)$(LIBDIR)/.old
exchange = import os, sys; os.chdir(sys.argv[1]); \
	os.path.exists("python") and os.rename("python", ".old/python"); os.rename(".new/python", "python")
# journalctl finds explanations in a database of its own.
tell_systemd = if test -z "$(DESTDIR)" -a -d /run/systemd/system; then systemctl daemon-reload; journalctl --update-catalog; fi

.PHONY: install uninstall install-check

install-check:
	@test -n "$(SYSTEM_GENERATOR_DIR)" -a -n "$(USER_GENERATOR_DIR)" || { \
		echo "make install: pkg-config does not know systemd; install pkg-config and systemd's systemd.pc" \
			"(Debian 12: systemd, Debian 13: systemd-dev, Fedora: systemd), or set SYSTEM_GENERATOR_DIR=" \
			"and USER_GENERATOR_DIR=" >&2; exit 1; }
	@case "$(origin SYSTEM_GENERATOR_DIR) $(SYSTEM_GENERATOR_DIR)" in \
		"file "/usr/lib/systemd/* | "file "/usr/local/lib/systemd/* | "file "/lib/systemd/* | [!f]*) ;; \
		*) echo "make install: systemd looks for no generator in $(SYSTEM_GENERATOR_DIR); use PREFIX=/usr or" \
			"/usr/local, or set SYSTEM_GENERATOR_DIR= and USER_GENERATOR_DIR= (systemd.generator(7))" >&2; exit 1; esac
	@$(SYSTEM_PYTHON) -c 'import jinja2' 2>/dev/null || { \
		echo "make install: $(SYSTEM_PYTHON) cannot import jinja2; install it (Debian: python3-jinja2)" >&2; exit 1; }

install: install-check
	install -d "$(DESTDIR)$(LIBDIR)/apps" "$(DESTDIR)$(LIBDIR)/example" \
		"$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(SYSTEM_GENERATOR_DIR)" "$(DESTDIR)$(USER_GENERATOR_DIR)" \
		"$(DESTDIR)$(MANDIR)/man5" "$(DESTDIR)$(MANDIR)/man7" "$(DESTDIR)$(MANDIR)/man8" "$(DESTDIR)$(COMPLETIONS_DIR)" "$(DESTDIR)$(DOCDIR)" \
		"$(DESTDIR)$(CATALOG_DIR)" "$(DESTDIR)$(SYSCONFDIR)/svc"
	rm -rf "$(new)" "$(old)"
	install -d "$(new)" "$(old)"
	for file in $(python_files); do install -D -m 644 "$$file" "$(new)/python/$$file" || exit 1; done
	PYTHONPATH=. $(SYSTEM_PYTHON) -B -m svc.units.translate units >"$(new)/python/svc/units/translated.py"
	$(SYSTEM_PYTHON) -m compileall -q $(compiled) -s "$(new)" -p "$(LIBDIR)" "$(new)/python"
	echo "$(BINDIR)/svcctl" >"$(new)/python/svcctl.path"
	chmod -R a+rX "$(new)"
	$(SYSTEM_PYTHON) -I -c '$(exchange)' "$(DESTDIR)$(LIBDIR)"
	rm -rf "$(new)" "$(old)"
	install -m 644 packaging/examples/hello.py "$(DESTDIR)$(LIBDIR)/example/"
	sed 's|@LIBDIR@|$(LIBDIR)|' packaging/examples/app.toml >"$(DESTDIR)$(LIBDIR)/apps/app.toml"
	chmod 644 "$(DESTDIR)$(LIBDIR)/apps/app.toml"
	$(call install_script,packaging/bin/svcctl,$(BINDIR))
	$(call install_script,packaging/bin/svc-generator,$(SYSTEM_GENERATOR_DIR))
	$(call install_script,packaging/bin/svc-generator,$(USER_GENERATOR_DIR))
	PYTHONPATH=. $(SYSTEM_PYTHON) -B -m svc.manual man >"$(DESTDIR)$(MANDIR)/man5/svc.toml.5"
	chmod 644 "$(DESTDIR)$(MANDIR)/man5/svc.toml.5"
	install -m 644 packaging/man/svc-cluster.7 "$(DESTDIR)$(MANDIR)/man7/"
	install -m 644 packaging/man/svcctl.8 "$(DESTDIR)$(MANDIR)/man8/"
	install -m 644 packaging/svc.catalog "$(DESTDIR)$(CATALOG_DIR)/"
	install -m 644 packaging/completions/svcctl.bash "$(DESTDIR)$(COMPLETIONS_DIR)/svcctl"
	install -m 644 README.md CHANGELOG.md LICENSE packaging/polkit/50-svc-deploy.rules \
		packaging/examples/flask_login.py packaging/examples/starlette_login.py "$(DESTDIR)$(DOCDIR)/"
	@$(tell_systemd)

# What the administrator wrote (/etc/svc) stays, and so do the folders that hold files of others.
uninstall:
	rm -rf "$(DESTDIR)$(LIBDIR)/python" "$(DESTDIR)$(LIBDIR)/example" "$(DESTDIR)$(DOCDIR)" "$(new)" "$(old)"
	rm -f "$(DESTDIR)$(LIBDIR)/apps/app.toml" "$(DESTDIR)$(BINDIR)/svcctl" \
		"$(DESTDIR)$(SYSTEM_GENERATOR_DIR)/svc-generator" "$(DESTDIR)$(USER_GENERATOR_DIR)/svc-generator" \
		"$(DESTDIR)$(MANDIR)/man5/svc.toml.5" "$(DESTDIR)$(MANDIR)/man7/svc-cluster.7" \
		"$(DESTDIR)$(MANDIR)/man8/svcctl.8" "$(DESTDIR)$(COMPLETIONS_DIR)/svcctl" "$(DESTDIR)$(CATALOG_DIR)/svc.catalog"
	for folder in "$(LIBDIR)/apps" "$(LIBDIR)" "$(SYSCONFDIR)/svc"; do \
		if test -d "$(DESTDIR)$$folder"; then rmdir --ignore-fail-on-non-empty "$(DESTDIR)$$folder"; fi; done
	@$(tell_systemd)
