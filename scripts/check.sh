#!/bin/bash
# scripts/check.sh: all checks that run no lb4: format, layers, sizes, compilers, analyzers, scripts.
# One line for each; the whole output of those that fail; exit 1 if one did.
# shellcheck disable=SC2317  # the functions are called by check()
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

check_packages=(clang clang-format clang-tidy cppcheck pyflakes3 python3 universal-ctags)
install_packages "to check the code" "${check_packages[@]}"

status=0

# check NAME COMMAND...
check() {
    local name=$1 output last
    shift
    if output=$("$@" 2>&1); then
        last=$(tail -n 1 <<<"$output")
        say "ok      $name${last:+ ($last)}"
    else
        say "FAILED  $name"
        say "$output"
        status=1
    fi
}

check_format() {
    find src include tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
}

# The target compiles every header alone.
check_headers() {
    scripts/build.sh clang lb4core_verify_interface_header_sets
}

check_sources_listed() {
    local file bad=0
    while read -r file; do
        grep -qF "\"$root/$file\"" build/clang/compile_commands.json ||
            { say "$file is not in CMakeLists.txt" && bad=1; }
    done < <(find src tests -name '*.c')
    return "$bad"
}

# One file for each clang-tidy: version 14 invents faults of va_list in the second.
check_tidy() {
    find src -name '*.c' -print0 |
        xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/clang --quiet 2>/dev/null
}

# uninitvar is left to the compilers and clang-tidy: cppcheck does not see guards by a count.
check_cppcheck() {
    cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j "$(nproc)" -D_GNU_SOURCE \
        --enable=warning,performance,portability --suppress=uninitvar -I include src
}

check_python() {
    find scripts tests -name '*.py' -print0 | xargs -0 pyflakes3
}

check_shell() {
    command -v shellcheck >/dev/null || { say "left out: shellcheck is not installed" && return; }
    shellcheck -x scripts/*.sh scripts/run scripts/test .ci/run
}

check "format" check_format
check "layers" scripts/check-layers.sh
check "sizes" scripts/check-sizes.sh
check "clang without warnings" scripts/build.sh clang
check "each header compiles alone" check_headers
check "every source is built" check_sources_listed
check "clang-tidy" check_tidy
check "cppcheck" check_cppcheck
check "python" check_python
check "shell" check_shell
exit $status
