#!/bin/sh
# Check the Lean library: lean/check.sh [--fresh] [--jobs N] [CACHE_FOLDER]
# Exit status: 0 checked, 1 the library failed, 2 it cannot be checked here. PYTHON names another Python.
# See README.md for what is checked and with which build of Lean.
here=$(cd "$(dirname "$0")" && pwd) && [ -f "$here/checks/check.py" ] || exit 1
python=${PYTHON:-python3}
cannot() {
  echo "lean: cannot be checked here: $1" >&2
  exit 2
}
command -v "$python" >/dev/null 2>&1 || cannot "$python is not on the PATH; install Python 3.11 or newer, or name one: PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  cannot "$python is older than Python 3.11; install a newer one, or name one: PYTHON=…"
exec "$python" -B "$here/checks/check.py" "$@"
