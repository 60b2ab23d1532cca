# What a guest is to do. Sourced by ../guest, never run.

# The plan, a run of a test binary each: its suite, its binary, its arguments.
plan_suites=() plan_binaries=() plan_arguments=()

# make_plan RUNTIME [SUITE…]: all suites, or these; what is no suite is a test, or a file of tests, and is its own.
make_plan() {
    local runtime=$1 suite words n test
    shift
    plan_suites=() plan_binaries=() plan_arguments=()
    if [ $# = 0 ]; then
        mapfile -t words < <(suites)
        set -- "${words[@]}"
    fi
    for suite; do
        words=()
        read -r -a words < <(words_of "$suite") || words=("$suite")
        add_suite "$suite" "${words[@]}"
    done
    for n in "${!plan_binaries[@]}"; do
        for test in $(left_out "$runtime"); do
            [ "${test%%::*}" != "${plan_binaries[n]}" ] || plan_arguments[n]+=" --skip ${test#*::}"
        done
    done
}

suites() { sed -n 's/^\([a-z][^ ]*\) .*/\1/p' "$top/scripts/guests/suites" | grep -vx sample; }
words_of() { sed -n "s/^$1  *//p" "$top/scripts/guests/suites"; }

# add_suite SUITE WORD…: a word is a `file`, a `file::test`, or a `-file::test` that is left out of the file.
add_suite() {
    local suite=$1 word binary last
    shift
    for word; do
        binary=${word%%::*} last=$((${#plan_binaries[@]} - 1))
        binary=${binary#-}
        [ -e "$top/tests/tests/$binary.rs" ] || die "neither a suite nor a test: $word"
        if [ "$last" -lt 0 ] || [ "${plan_binaries[last]}" != "$binary" ] || [ "${plan_suites[last]}" != "$suite" ]; then
            plan_suites+=("$suite")
            plan_binaries+=("$binary")
            plan_arguments+=(--exact)
            last=$((last + 1))
        fi
        case $word in
        -*) plan_arguments[last]+=" --skip ${word#*::}" ;;
        *::*) plan_arguments[last]+=" ${word#*::}" ;;
        esac
    done
}

# left_out RUNTIME: tests that are for runc alone (tests/common-suite), and those that a runtime is known to fail
# (docs/compatibility.md).
left_out() {
    [ "$1" != runc ] || return 0
    sed -n 's/^- \([a-z0-9_]*::[a-z0-9_]*\)  .*/\1/p' "$top/tests/common-suite"
    grep "^| $1 " "$top/docs/compatibility.md" | grep -o '`[a-z0-9_]*::[a-z0-9_]*`' | tr -d '`' || true
}

# print_plan: as the guest reads it.
print_plan() {
    local n
    for n in "${!plan_binaries[@]}"; do echo "${plan_binaries[n]} ${plan_arguments[n]}"; done
}
