# Runs a guest and judges it. Sourced by ../guest, never run.

# Seconds without a line from a guest until it is taken for hung: more than any test takes before it gives up by itself.
silence=900

# How often a guest is run until it has a verdict. One that hangs, panics or goes away has none. Emulated ones do that now and then
# for no reason of ours.
chances=2

# run_guest KERNEL RUNTIME: prints how each suite went; fails unless all of the plan has passed. A suite that has is on record in results/
# until its next run: how many of its tests have.
run_guest() {
    local attempt log outcome suite
    mkdir -p "$results/$1-$2"
    for suite in "${plan_suites[@]}"; do rm -f "$results/$1-$2/$suite"; done
    for ((attempt = 1; attempt <= chances; attempt++)); do
        log=$guests_dir/log/$1-$2.$attempt
        heading "guest: kernel $1, $2"
        boot_guest "$1" "$2" "$log"
        if [ "$outcome" = done ]; then
            judge "$1" "$2" "$log"
            return
        fi
        note "guest $1, $2: $outcome; the end of what it said, all of which is in ${log#"$top"/}:"
        # A panic alone has half of that.
        tail -n 100 "$log" >&2
    done
    return 1
}

# boot_guest KERNEL RUNTIME LOG: sets `outcome` to `done`, or to why there is no verdict. What the guest says goes to LOG, what it
# tells to LOG.told.
boot_guest() {
    local nonce from log=$3 line
    nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
    mkdir -p "${log%/*}"
    rm -f "$log"*
    make_initramfs "$1" "$nonce $2 $top"
    exec {from}< <(emulate "$1" "$log.serial")
    qemu_pid=$!
    outcome=
    while true; do
        line=
        if IFS= read -r -t "$silence" line <&"$from"; then
            say "$log" "$line"
        elif [ $? -gt 128 ]; then
            say "$log" "$line"
            outcome="hung: not a line for $silence s"
            kill -KILL "$qemu_pid"
            break
        else
            say "$log" "$line"
            break
        fi
    done
    exec {from}<&-
    wait "$qemu_pid" || true
    qemu_pid=

    # Only lines of this run, and whole ones.
    tr -d '\r' <"$log.serial" | sed -n "s/^$nonce \(.*\)/\1/p" >"$log.told"
    if [ -n "$outcome" ]; then
        return
    elif grep -qx 'end' "$log.told"; then
        outcome='done'
    elif grep -q 'Kernel panic' "$log"; then
        outcome=panicked
    else
        outcome='went away before it was done'
    fi
}

qemu_pid=
trap '[ -z "$qemu_pid" ] || kill -KILL "$qemu_pid" 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# say LOG LINE: HOLDFAST_GUEST_CONSOLE=1 shows a guest's console while it runs.
say() {
    [ -n "$2" ] || return 0
    printf '%s\n' "${2%$'\r'}" >>"$1"
    [ -z "${HOLDFAST_GUEST_CONSOLE:-}" ] || printf '%s\n' "${2%$'\r'}"
}

# make_initramfs KERNEL HEAD: what a kernel starts with: modules, two scripts, and the plan with this first line.
make_initramfs() {
    local stage=$guests_dir/initramfs
    rm -rf "$stage"
    mkdir -p "$stage/bin"
    cp -r "$guests_dir/kernel-$1/lib" "$stage/lib"
    cp "$(command -v busybox)" "$stage/bin/busybox"
    cp "$top/scripts/guests/boot" "$stage/init"
    cp "$top/scripts/guests/init" "$stage/guest-init"
    echo "$top" >"$stage/top"
    { echo "$2"; print_plan; } >"$stage/plan"
    (cd "$stage" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$stage.gz"
}

# emulate KERNEL SERIAL: becomes the guest, whose console is stdout; its second serial line is the file SERIAL.
emulate() {
    local qemu=$guests_dir/qemu lib=lib/x86_64-linux-gnu
    # With QEMU's own C library, so that neither has to fit the host's. One processor, and this machine, no smaller one: with others,
    # guests hang or panic more often.
    # What guests write goes into a file of QEMU's below TMPDIR, and with it.
    TMPDIR=$guests_dir QEMU_MODULE_DIR=$qemu/usr/$lib/qemu exec nice -n 10 "$qemu/lib64/ld-linux-x86-64.so.2" \
        --library-path "$qemu/$lib:$qemu/usr/$lib" "$qemu/usr/bin/qemu-system-x86_64" \
        -L "$qemu/usr/share/qemu" -L "$qemu/usr/share/seabios" \
        -nodefaults -no-user-config -display none -no-reboot \
        -M pc -accel tcg,thread=multi -cpu Nehalem -smp 1 -m 768 \
        -serial stdio -serial "file:$2" \
        -kernel "$guests_dir/kernel-$1/vmlinuz" -initrd "$guests_dir/initramfs.gz" \
        -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all mitigations=off" \
        -drive "file=$(root_image),format=raw,if=virtio,snapshot=on" \
        -drive "file=$guests_dir/tests.img,format=raw,if=virtio,snapshot=on" </dev/null 2>&1
}

# judge KERNEL RUNTIME LOG: what was told against what was to be run.
judge() {
    local n suite binary status passed failed ignored bad=0
    local -A passed_of=() failed_of=() ignored_of=() bad_of=()
    for n in "${!plan_binaries[@]}"; do
        suite=${plan_suites[n]} binary=${plan_binaries[n]}
        # Without its last three numbers if the binary was killed on its way.
        read -r status passed failed ignored < <(sed -n "s/^ran $((n + 1)) //p" "$3.told") || true
        passed_of[$suite]=$((${passed_of[$suite]:-0} + ${passed:-0}))
        failed_of[$suite]=$((${failed_of[$suite]:-0} + ${failed:-0}))
        ignored_of[$suite]=$((${ignored_of[$suite]:-0} + ${ignored:-0}))
        if [ "${status:-}" != 0 ] || [ "${passed:-0}" = 0 ] || [ "${failed:-1}" != 0 ]; then
            bad=1 bad_of[$suite]=yes
            note "$suite: $binary ${plan_arguments[n]:-}: status ${status:-not told}, ${passed:-?} passed, ${failed:-?} failed"
        fi
    done
    for suite in "${!passed_of[@]}"; do
        echo "$suite ${passed_of[$suite]} ${failed_of[$suite]} ${ignored_of[$suite]}"
        [ -n "${bad_of[$suite]:-}" ] || echo "${passed_of[$suite]}" >"$results/$1-$2/$suite"
    done | sort |
        # The last line is of cargo's form: whoever adds up tests finds it.
        awk '
            { printf "%-16s %3d passed, %d failed, %d ignored\n", $1, $2, $3, $4; p += $2; f += $3; i += $4 }
            END { printf "test result: guest. %d passed; %d failed; %d ignored\n", p, f, i }'
    [ "$bad" = 0 ] || note "what the guest said is in ${3#"$top"/}"
    return "$bad"
}
