#!/bin/sh
# module.sh <nginx build> <nginx sources> <to>: the nginx module with failpoints, out
# of the one that was built: files that have any are compiled again as nginx compiled
# them, with -DAEGIS_FAILPOINTS, and all is linked as nginx linked it.
set -eu
built=$1 src=$2 to=$3
mkdir -p "$to/nginx"
make -n -B -C "$src" -f "$built/Makefile" modules 2>/dev/null |
    sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' |
    tr -s ' \t' ' ' >"$to/nginx/commands"
objects=
for o in "$built"/addon/*/*.o "$built"/ngx_http_aegis_module_modules.o; do
    c=$(sed -n "s,.*-o $o *\(/[^ ]*\.c\).*,\1,p" "$to/nginx/commands")
    if [ -n "$c" ] && grep -qw 'AEGIS_FP' "$c"; then
        new=$to/nginx/$(basename "$o")
        grep -e "-o $o " "$to/nginx/commands" | sed "s,-o $o,-DAEGIS_FAILPOINTS -o $new," >"$to/nginx/one"
        (cd "$src" && sh "$to/nginx/one")
        o=$new
    fi
    objects="$objects $o"
done
# shellcheck disable=SC2086,SC2046 # lists of words
"${CC:-cc}" -o "$to/ngx_http_aegis_module.so" $objects "$to/t/failpoint/aegis_failpoint.o" \
    $(grep -e "-o $built/ngx_http_aegis_module.so " "$to/nginx/commands" |
        tr ' ' '\n' | grep -e '^-' | grep -v -e '^-o$')
