#!/bin/sh
# Becomes the command; options alone are those of memcached. The rule of memcached's official image.
set -e

case "${1-}" in
    -*) set -- memcached "$@" ;;
esac
exec "$@"
