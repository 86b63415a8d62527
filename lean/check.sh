#!/bin/sh
# Check the Lean library: lean/check.sh [--fresh] [CACHE_FOLDER]
# See README.md for what is checked and with which build of Lean.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
for tool in python3 npm; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "lean/check.sh: $tool is not installed or not on the PATH; it is needed to fetch the build of Lean" >&2
    exit 2
  fi
done
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "lean/check.sh: python3 is older than 3.11" >&2
  exit 2
fi
exec python3 -B "$here/checks/check.py" "$@"
