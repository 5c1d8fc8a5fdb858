#!/bin/bash
# scripts/check-sizes.sh: the sizes that keep the code readable. Prints the figures and each breach;
# exit 1 if there is one. A function that is nothing but a table may be named in `tables`.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

tables=' '

# Lines of every function of src/, one "LINES NAME FILE:LINE" each, sorted.
function_sizes() {
    find src -name '*.c' -print0 | xargs -0 ctags --kinds-C=f --fields=+ne -o - |
        sed -nE 's/^([^\t]*)\t([^\t]*)\t.*\tline:([0-9]+).*\tend:([0-9]+).*/\1 \2 \3 \4/p' |
        awk '{ print $4 - $3 + 1, $1, $2 ":" $3 }' | sort -n
}

function_sizes | awk -v tables="$tables" '
    { size[NR] = $1 }
    $1 > 60 && !index(tables, " " $2 " ") { print $3 ": " $2 " has " $1 " lines, 60 allowed"; bad = 1 }
    END {
        if (NR == 0) { print "no function found"; exit 1 }
        median = size[int((NR + 1) / 2)]
        printf "%d functions: median %d lines, p90 %d, longest %d\n", NR, median,
            size[int(NR * 0.9 + 0.5)], size[NR]
        if (median > 15) { print "median above 15 lines"; bad = 1 }
        exit bad
    }'

# find_longer LIMIT FILE...
find_longer() {
    local limit=$1
    shift
    wc -l "$@" | awk -v limit="$limit" '
        $2 != "total" && $1 > limit { print $2 ": " $1 " lines, " limit " allowed"; bad = 1 }
        END { exit bad }'
}

mapfile -t sources < <(find src -name '*.c')
mapfile -t headers < <(find include -name '*.h')
status=0
find_longer 500 "${sources[@]}" || status=1
find_longer 120 "${headers[@]}" || status=1
exit $status
