#!/bin/sh
# Installs the sources in a directory into an environment of its own, with the versions of their constraints.txt:
#
#     packaging/install.sh SOURCES ENVIRONMENT
#
# The Dockerfile runs it, and so may whoever puts Headwater on a machine without containers.
set -eu
sources=$1
environment=$2

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Headwater needs Python 3.11 or newer, and python3 is $(python3 --version)" >&2
    exit 1
}
python3 -m venv "$environment"
"$environment/bin/pip" install --no-cache-dir --disable-pip-version-check --constraint "$sources/constraints.txt" "$sources"
# Nothing is installed into it later. What stands there is never written again, so it is compiled now.
"$environment/bin/pip" uninstall --quiet --yes setuptools pip
"$environment/bin/python3" -m compileall -q "$environment/lib"
"$environment/bin/headwater" --version
