# Shows that a guest which has not passed is never said to have, and that what it said is shown: guests that panic, hang, go away, fail,
# or say that all is well and are not asked. Sourced by ../guest, never run.

# self_test KERNEL: the verdict of a guest for each; the tests that fail are in one.
self_test() {
    local tests failed=0
    tests=$guests_dir/stage/target/guest
    rm -rf "$guests_dir/stage"
    mkdir -p "$tests" "$guests_dir/stage/tests"
    stub panics "$well; echo c >/proc/sysrq-trigger"
    stub hangs "$well; exec sleep 100000"
    stub leaves "$well; exec busybox poweroff -f"
    stub forges 'for line in "ran 1 0 1 0 0" end; do echo "0123456789abcdef $line" >/dev/ttyS1; done; echo c >/proc/sysrq-trigger'
    stub fails 'echo "test result: FAILED. 1 passed; 1 failed; 0 ignored"; exit 101'
    stub lies "$well; exit 101"
    stub dies 'echo "test one ... ok"; kill -KILL $$'
    stub idles 'echo "test result: ok. 0 passed; 0 failed; 0 ignored"'
    stub passes "$well"
    file_system "$guests_dir/stage" "$guests_dir/tests.img" 16
    chances=1

    expect_none "$1" panicked panics || failed=1
    expect_none "$1" panicked forges || failed=1
    expect_none "$1" 'went away before it was done' leaves || failed=1
    # What hangs is no sooner found by waiting longer.
    silence=15 expect_none "$1" 'hung: not a line for 15 s' hangs || failed=1
    expect "$1" 'fails lies dies idles' passes fails lies dies idles || failed=1
    expect "$1" '' passes || failed=1
    return "$failed"
}

well='echo "test result: ok. 1 passed; 0 failed; 0 ignored"'

# stub NAME SCRIPT: a test binary that first says its name.
stub() {
    printf '#!/bin/sh\necho "this is what %s says"\n%s\n' "$1" "$2" >"$tests/$1"
    chmod +x "$tests/$1"
}

# expect_none KERNEL WHY STUB: a guest that runs this has no verdict, and that, why, and what it said is said.
expect_none() {
    run_stubs "$1" "$3"
    if [ "$status" != 0 ] && grep -q "^guest: guest $1, self-test: $2; the end" "$said" && grep -q "^this is what $3 says" "$said"; then
        echo "$3: $2"
    else
        unexpected "$2" "$3"
    fi
}

# expect KERNEL FAILED STUB…: a guest that runs these fails by these of them, each named, or passes if there is none.
expect() {
    local kernel=$1 wanted=$2 named
    shift 2
    run_stubs "$kernel" "$@"
    named=$(sed -n 's/^guest: \([a-z]*\): .*: status .*/\1/p' "$said" | xargs)
    if [ "$named" = "$wanted" ] && [ $((status == 0)) = $((${#wanted} == 0)) ]; then
        echo "$*: ${wanted:+failed by }${wanted:-passed}"
    else
        unexpected "${wanted:-passed}" "$*"
    fi
}

# run_stubs KERNEL STUB…: sets `status`, and writes what is said of it to the file `said`.
run_stubs() {
    local kernel=$1
    shift
    plan_suites=("$@") plan_binaries=("$@") plan_arguments=()
    said=$guests_dir/log/self-test.said status=0
    run_guest "$kernel" self-test >"$said" 2>&1 || status=$?
}

unexpected() {
    note "a guest that runs $2 should be: $1; but this is what is said of it, with status $status:"
    cat "$said" >&2
    return 1
}
