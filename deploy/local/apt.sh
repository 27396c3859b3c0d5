#!/usr/bin/env bash
# Installs the Debian packages that the test-suite needs and that are missing. Usage: apt.sh COMMAND=PACKAGE...
# Runs apt-get only if something is missing, as root or through sudo, and updates the package lists once.
set -euo pipefail

missing=()
for pair in "$@"; do
  command=${pair%%=*}
  package=${pair#*=}
  if [ "$command" = "python-venv" ]; then
    python3 -c 'import ensurepip' 2>/dev/null || missing+=("$package")
  elif [ "$command" = "postgres" ] && compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
    : # Debian keeps it off the PATH
  elif [ -x "/usr/sbin/$command" ]; then
    : # nginx, and not everybody has this folder on the PATH
  elif ! command -v "$command" >/dev/null 2>&1; then
    missing+=("$package")
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "These are needed and this system has no apt-get to install them: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! sudo -n true 2>/dev/null; then
    echo "Please install these as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi
echo "Installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive

# The tests start services of their own; those of the packages shall not start because of them. invoke-rc.d asks this
# script whether it may start anything; one that is there already belongs to the machine and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
