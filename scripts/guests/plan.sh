# What a guest is to do. Sourced by ../guest, never run.

# The plan, a run of a test binary each: its suite, its binary, its arguments. And tests that would be in it, with another runtime.
plan_suites=() plan_binaries=() plan_arguments=() plan_left_out=()

# make_plan RUNTIME [SUITE…]: all suites, or these; what is no suite is a test, or a file of tests, and is its own.
make_plan() {
    local runtime=$1 suite words n test
    shift
    plan_suites=() plan_binaries=() plan_arguments=() plan_left_out=()
    if [ $# = 0 ]; then
        mapfile -t words < <(suites)
        set -- "${words[@]}"
    fi
    for suite; do
        mapfile -t words < <(words_of "$suite")
        [ ${#words[@]} -gt 0 ] || words=("$suite")
        add_suite "$suite" "${words[@]}"
    done
    for n in "${!plan_binaries[@]}"; do
        for test in $(left_out "$runtime"); do
            [ "${test%%::*}" = "${plan_binaries[n]}" ] || continue
            # A file whose tests are not named is run whole.
            [[ ! ${plan_arguments[n]} =~ ^--exact( --skip .*)?$ && " ${plan_arguments[n]} " != *" ${test#*::} "* ]] || plan_left_out+=("$test")
            plan_arguments[n]+=" --skip ${test#*::}"
        done
    done
}

suites() { sed -n 's/^\([a-z][^ ]*\).*/\1/p' "$top/scripts/guests/suites" | grep -vx sample; }
# Lines that are indented go on with the suite before them.
words_of() {
    awk -v suite="$1" '
        /^#/ { next }
        /^[^ ]/ { on = $1 == suite }
        on { for (i = /^[^ ]/ ? 2 : 1; i <= NF; i++) print $i }' "$top/scripts/guests/suites"
}

# add_suite SUITE WORD…: a word is a `file` of tests, or a `file::test`.
add_suite() {
    local suite=$1 word binary last
    shift
    for word; do
        binary=${word%%::*} last=$((${#plan_binaries[@]} - 1))
        [ -e "$top/tests/tests/$binary.rs" ] || die "neither a suite nor a file of tests: $word"
        [[ $word != *::* ]] || grep -qr "fn ${word##*::}()" "$top/tests/tests/$binary"* || die "no such test: $word"
        if [ "$last" -lt 0 ] || [ "${plan_binaries[last]}" != "$binary" ] || [ "${plan_suites[last]}" != "$suite" ]; then
            plan_suites+=("$suite")
            plan_binaries+=("$binary")
            plan_arguments+=(--exact)
            last=$((last + 1))
        fi
        [[ $word != *::* ]] || plan_arguments[last]+=" ${word#*::}"
    done
}

# left_out RUNTIME: tests that are for runc alone (tests/common-suite, and suites beside this), and those that a runtime is known to
# fail (docs/compatibility.md).
left_out() {
    [ "$1" != runc ] || return 0
    sed -n 's/^- \([a-z0-9_]*::[a-z0-9_]*\)  .*/\1/p' "$top/tests/common-suite" "$top/scripts/guests/suites"
    grep "^| $1 " "$top/docs/compatibility.md" | grep -o '`[a-z0-9_]*::[a-z0-9_]*`' | tr -d '`' || true
}

# print_plan: as the guest reads it.
print_plan() {
    local n
    for n in "${!plan_binaries[@]}"; do echo "${plan_binaries[n]} ${plan_arguments[n]:-}"; done
}
