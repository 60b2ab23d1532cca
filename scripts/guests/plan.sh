# What a guest is to do. Sourced by ../guest, never run.

# The plan, a run of a test binary each: its suite, its binary, its arguments.
plan_suites=() plan_binaries=() plan_arguments=()

# make_plan [SUITE…]: all suites, or these; what is no suite is a test, or a test binary, and is its own.
make_plan() {
    local suite words
    if [ $# = 0 ]; then
        mapfile -t words < <(suites)
        set -- "${words[@]}"
    fi
    for suite; do
        words=()
        read -r -a words < <(words_of "$suite") || words=("$suite")
        add_suite "$suite" "${words[@]}"
    done
}

suites() { sed -n 's/^\([a-z][^ ]*\) .*/\1/p' "$top/scripts/guests/suites"; }
words_of() { sed -n "s/^$1  *//p" "$top/scripts/guests/suites"; }

# add_suite SUITE WORD…: a word is a `binary`, a `binary::test`, or a `-binary::test` that is left out of the binary.
add_suite() {
    local suite=$1 word binary last
    shift
    for word; do
        binary=${word%%::*} last=$((${#plan_binaries[@]} - 1))
        if [ "$last" -lt 0 ] || [ "${plan_binaries[last]}" != "${binary#-}" ] || [ "${plan_suites[last]}" != "$suite" ]; then
            plan_suites+=("$suite")
            plan_binaries+=("${binary#-}")
            plan_arguments+=(--exact)
            last=$((last + 1))
        fi
        [ -e "$top/tests/tests/${binary#-}.rs" ] || die "neither a suite nor a test: $word"
        case $word in
        -*) plan_arguments[last]+=" --skip ${word#*::}" ;;
        *::*) plan_arguments[last]+=" ${word#*::}" ;;
        esac
    done
}

# print_plan: as the guest reads it.
print_plan() {
    local n
    for n in "${!plan_binaries[@]}"; do echo "${plan_binaries[n]} ${plan_arguments[n]}"; done
}
