# What a guest is made of: QEMU, a kernel with its initramfs, a root file system, and the tests. Sourced by ../guest, never run.
# Whatever a function makes is not made again while it is there, except for the tests.

# The kernels, and the suite of Debian's that has each; and the runtimes.
all_kernels=(5.10 6.1 6.12)
declare -A suite_of=([5.10]=bullseye [6.1]=bookworm [6.12]=trixie)
all_runtimes=(runc crun)

# QEMU, and everything in a guest but the kernel, are of one suite: what differs between two guests is the kernel.
suite=bookworm

# What tests call, and what an unpacked system needs to start it. The tests themselves are static.
userland=(runc crun busybox-static strace uidmap procps util-linux mount iproute2 bash coreutils findutils grep sed mawk diffutils)

make_qemu() { unpack "$suite" "$guests_dir/qemu" qemu-system-x86; }

# make_kernel KERNEL: the kernel, and the modules by which it finds its disks.
make_kernel() {
    local dir=$guests_dir/kernel-$1 package=$guests_dir/kernel-$1.package release module
    [ ! -e "$dir" ] || return 0
    update "${suite_of[$1]}"
    unpack_only "${suite_of[$1]}" "$package" "$(dependency "${suite_of[$1]}" linux-image-cloud-amd64)"
    # Since Debian 13, /lib is a link in all packages.
    [ -e "$package/lib" ] || ln -s usr/lib "$package/lib"
    release=$(ls "$package/lib/modules")
    # busybox reads no compressed ones.
    find "$package/lib/" -name '*.ko.xz' -exec xz -d {} +
    busybox depmod -b "$package" "$release"

    rm -rf "$dir.new"
    mkdir -p "$dir.new/lib/modules/$release"
    cp "$package/boot/vmlinuz-$release" "$dir.new/vmlinuz"
    cd "$package/lib/modules/$release"
    cp modules.* "$dir.new/lib/modules/$release/"
    # Each with those that it needs: `kernel/a.ko: kernel/b.ko kernel/c.ko`.
    for module in virtio_pci virtio_blk ext4 overlay fuse; do
        sed -n "s|:||; \|/$module\.ko|p" modules.dep
    done | xargs -n 1 | sort -u | xargs cp -t "$dir.new/lib/modules/$release" --parents
    cd "$top"
    rm -r "$package"
    mv "$dir.new" "$dir"
}

# root_image: where the root file system is; another one when something else is to be in it.
root_image() { echo "$guests_dir/root-$( (echo "${userland[@]}" && declare -f make_root) | cksum | cut -d ' ' -f 1).img"; }

# make_root: the root file system of all guests.
make_root() {
    local root=$guests_dir/root image
    image=$(root_image)
    [ ! -e "$image" ] || return 0
    rm -f "$guests_dir"/root-*.img
    unpack "$suite" "$root" "${userland[@]}"
    mkdir -p "$root"/{dev,proc,sys,run,tmp,root}
    printf 'root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/tmp:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\nuser:x:1000:\n' >"$root/etc/group"
    # Whoever has ids to map gives them a place to be mounted at.
    touch "$root"/etc/sub{u,g}id
    # What packages make of each other's files when they are installed, and tests call.
    ln -sf bash "$root/bin/sh"
    ln -sf mawk "$root/usr/bin/awk"
    rm -rf "$root"/usr/share/{doc,locale,man,i18n,zoneinfo} "$root"/usr/lib/x86_64-linux-gnu/gconv
    # Tests write there, to a disk: what they write to memory would be counted as their containers'.
    chmod 1777 "$root/tmp"
    file_system "$root" "$image" 1024
    rm -r "$root"
}

# file_system DIRECTORY IMAGE MIB: an ext4 file system of what is in a directory, with so much room beside it.
file_system() {
    local size
    size=$(($(du -sm "$1" | cut -f 1) * 5 / 4 + $3))
    rm -f "$2.new"
    mke2fs -q -t ext4 -O ^has_journal -d "$1" "$2.new" "${size}M" >/dev/null
    mv "$2.new" "$2"
}

# make_tests: static builds of the driver and of the test binaries that the plan names, and the shim as it is shipped, each in the
# place that it has on the host.
make_tests() {
    local stage=$guests_dir/stage host binaries built name executable
    mapfile -t binaries < <(printf -- '--test=%s\n' "${plan_binaries[@]}" | sort -u)
    host=$(rustc -vV | sed -n 's/^host: //p')
    "$top/scripts/build" shim
    heading "build the guests' tests"
    # Without what debuggers need, which would be most of what is carried. The tests' deadlines are so many times longer than on a
    # real processor.
    built=$(CARGO_TARGET_DIR=$guests_dir/build CARGO_BUILD_TARGET=$host RUSTFLAGS="-C target-feature=+crt-static" \
        CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_STRIP=true HOLDFAST_TEST_PATIENCE=10 \
        cargo build -p holdfast -p holdfast-tests --bins "${binaries[@]}" --message-format json-render-diagnostics)

    rm -rf "$stage"
    mkdir -p "$stage"/target/{guest,holdfast/bin} "$stage/tests"
    cp -r docs "$stage"
    cp "$guests_dir/build/$host/debug/holdfast" "$bin_dir/holdfast-shim" "$stage/target/holdfast/bin"
    # Each in one line: `{…,"target":{"kind":["test"],…,"name":"oom",…},…,"executable":"/…/oom-0123456789abcdef",…}`
    sed -n 's/.*"kind":\["test"\],.*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2/p' <<<"$built" |
        while read -r name executable; do cp "$executable" "$stage/target/guest/$name"; done
    # Programs of the tests' own, whose places are compiled in.
    sed -n 's/.*"kind":\["bin"\],.*"executable":"\([^"]*\)".*/\1/p' <<<"$built" | while read -r executable; do
        name=$stage${executable#"$top"}
        mkdir -p "${name%/*}"
        cp "$executable" "$name"
    done
    # The program that some containers run is compiled by the tests themselves, where there is none of its source's size and time yet.
    mkdir "$stage/tests/src"
    cp -p tests/src/writer.c "$stage/tests/src"
    cc -O2 -static -o "$stage/target/holdfast/writer-$(stat -c %s-%Y tests/src/writer.c)" tests/src/writer.c
    file_system "$stage" "$guests_dir/tests.img" 64
}
