#!/bin/bash
# scripts/build.sh [release|dev|asan|tsan|fuzz|coverage|clang [TARGET...]]: build into build/KIND,
# everything or only the targets.
# LB4_WERROR=ON in the environment makes warnings errors (always so in dev, asan, tsan and clang).
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

kind=${1:-release}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(all)
options=(--no-warn-unused-cli -DCMAKE_RULE_MESSAGES=OFF -DLB4_TESTS=ON "-DLB4_WERROR=${LB4_WERROR:-OFF}")
packages=("${build_packages[@]}")

case $kind in
release) options+=(-DCMAKE_BUILD_TYPE=Release) ;;
dev) options+=(-DCMAKE_BUILD_TYPE=Debug -DLB4_WERROR=ON) ;;
asan | tsan)
    # Most tests have a connection or two, whose turns are too short for posts (relay/outbox.h): here
    # posts carry every small send, while the other kinds run the same tests with the ordinary turns.
    sanitizers=address,undefined
    [ "$kind" = asan ] || sanitizers=thread
    options+=(-DCMAKE_BUILD_TYPE=Debug '-DCMAKE_C_FLAGS_DEBUG=-O1 -g' -DLB4_WERROR=ON
        "-DLB4_SANITIZE=$sanitizers" -DLB4_POST_ALWAYS=ON)
    ;;
fuzz)
    packages+=(clang libclang-rt-dev)
    options+=(-DCMAKE_BUILD_TYPE=Debug '-DCMAKE_C_FLAGS_DEBUG=-O1 -g' -DCMAKE_C_COMPILER=clang
        -DLB4_TESTS=OFF -DLB4_FUZZ=ON)
    ;;
coverage) options+=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=--coverage) ;;
clang)
    packages+=(clang)
    options+=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=clang -DLB4_WERROR=ON)
    ;;
*) die "unknown kind '$kind': release, dev, asan, tsan, fuzz, coverage or clang" ;;
esac

install_packages "to build" "${packages[@]}"

# The generator of a build folder cannot be changed later, so it is chosen at the first run only.
if [ ! -e "build/$kind/CMakeCache.txt" ] && command -v ninja >/dev/null; then
    options+=(-G Ninja)
fi
say "building build/$kind"
cmake -S . -B "build/$kind" "${options[@]}" --log-level=WARNING >/dev/null
cmake --build "build/$kind" --parallel "$(nproc)" --target "${targets[@]}" -- --quiet
