#!/bin/bash
# scripts/check-layers.sh: the rules of the house that grep can check. A folder of src/ is a layer;
# it includes itself and what is below it. Prints each breach; exit 1 if there is one.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

declare -A level=([base]=1 [loop]=2 [conf]=2 [shared]=3 [relay]=4 [probe]=4 [worker]=5 [control]=6
    [main]=7 [lb4ctl]=7)

# Headers that are all there is of their module.
header_only=' base/list base/scope conf/bounds conf/ends conf/log_place conf/model conf/policy shared/backend shared/counter '
header_only+=' conf/access_rules conf/check_policy conf/directive_parts conf/handlers shared/backend_write shared/standing '
header_only+=' shared/choice shared/service shared/stats_checks shared/stats_udp shared/stats_worker relay/udp_listener relay/tcp_relay relay/timeouts probe/probe worker/listener_parts worker/order '

# Modules that only the integration tests can exercise: they start threads and whole processes.
without_unit_test=' control/lifecycle control/report control/signals control/threads '
# What ties others together, all of which have tests; and what test_prober*.c and test_udp*.c test
# as a whole.
without_unit_test+=' control/operator probe/trust relay/udp_relay '
# A loop around modules that all have tests, for a terminal: tests/integration/test_top.py.
without_unit_test+=' lb4ctl/top '

n_breaches=0
breach() {
    say "$*"
    n_breaches=$((n_breaches + 1))
}

layer_of() {
    local path=${1#src/}
    path=${path#include/lb4/}
    case $path in
    */*) say "${path%%/*}" ;;
    *) say "${path%.c}" ;;
    esac
}

check_includes() {
    local file=$1 layer included
    layer=$(layer_of "$file")
    [ -n "${level[$layer]:-}" ] || { breach "$file: unknown layer '$layer'" && return; }
    while read -r included; do
        if [ -z "${level[$included]:-}" ]; then
            breach "$file: includes \"$included\", which is no header of a layer"
        elif [ "$included" != "$layer" ] && [ "${level[$included]}" -ge "${level[$layer]}" ]; then
            breach "$file: the layer $layer must not include $included"
        fi
        if [ "$layer" = lb4ctl ] && [[ $included != lb4ctl && $included != base ]]; then
            breach "$file: lb4ctl includes only itself and base, not $included"
        fi
    done < <(sed -nE 's|^ *# *include "(lb4/)?([^/"]*).*|\2|p' "$file")
}

# What is left of a file without its comments and texts.
code_of() {
    gcc -fpreprocessed -dD -E -P -x c "$1" 2>/dev/null | sed -E 's/"(\\.|[^"\\])*"/""/g'
}

# check_words FILE CODE PATTERN ALLOWED...: these words only in files that match ALLOWED.
check_words() {
    local file=$1 code=$2 pattern=$3 allowed
    shift 3
    for allowed in "$@"; do
        # shellcheck disable=SC2053
        [[ $file != $allowed ]] || return 0
    done
    if grep -qE "\\b($pattern)" <<<"$code"; then
        breach "$file: '$pattern' belongs to $*"
    fi
}

# The directives are one module in several files, tested through read; a main is tested as a program.
check_mirrors() {
    local module=$1
    [[ $module != conf/directive* && $module != lb4ctl/main ]] || return 0
    [ -e "include/lb4/$module.h" ] || breach "src/$module.c has no include/lb4/$module.h"
    [[ $without_unit_test == *" $module "* ]] || [ -e "tests/unit/${module%/*}/test_${module##*/}.c" ] ||
        breach "src/$module.c has no tests/unit/${module%/*}/test_${module##*/}.c"
}

while read -r file; do
    check_includes "$file"
    code=$(code_of "$file")
    check_words "$file" "$code" '_Atomic|(__)?atomic_|__sync_' '*/shared/*' '*/base/log.?' \
        '*/base/log_ring.?' '*/base/log_writer.?' 'src/base/uring.c'
    check_words "$file" "$code" 'io_uring_|IORING_' '*/base/uring.?'
    check_words "$file" "$code" 'epoll_' '*/loop/*'
    check_words "$file" "$code" 'splice\(' 'src/relay/flow.c'
    check_words "$file" "$code" 'getopt' 'src/conf/flags.c' 'src/lb4ctl/*'
done < <(find src include -name '*.[ch]' | sort)

while read -r module; do
    check_mirrors "$module"
done < <(find src -mindepth 2 -name '*.c' | sed 's|^src/||; s|\.c$||' | sort)

while read -r module; do
    [ -e "src/$module.c" ] || [[ $header_only == *" $module "* ]] ||
        breach "include/lb4/$module.h has no src/$module.c"
done < <(find include/lb4 -name '*.h' | sed 's|^include/lb4/||; s|\.h$||' | sort)

[ "$n_breaches" -eq 0 ] || die "$n_breaches breaches"
