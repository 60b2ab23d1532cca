# Shared by the scripts beside it: messages, and installing what a machine lacks. Sourced, never run.
# Nothing here builds or tests anything.

set -euo pipefail

# The repository's top, so that every script works from any directory.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where the two finished binaries stand next to each other, as they are installed.
bin_dir=$top/target/holdfast/bin

# Where runc is, and where a root that came by way of `su` does not look.
export PATH=$PATH:/usr/sbin:/sbin

heading() { printf '\n== %s\n' "$*"; }
note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    note "$*"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "runs real containers and must be root; try: sudo $0"
}

need_rust() {
    command -v cargo >/dev/null || die "cargo is missing; install a Rust toolchain (see rust-version in Cargo.toml), for example from https://rustup.rs"
}

# musl_of HOST: the target that is the same machine with musl.
musl_of() { echo "${1%-*}-musl"; }

# has_rust_for TARGET: whether the toolchain can compile for it.
has_rust_for() { [ -d "$(rustc --print sysroot)/lib/rustlib/$1" ]; }

# need_nightly: for sanitizers and libFuzzer, which a stable compiler does not switch on.
need_nightly() {
    need_rust
    cargo +nightly --version >/dev/null 2>&1 && return 0
    command -v rustup >/dev/null || die "needs a nightly Rust toolchain beside the stable one"
    heading "install a nightly toolchain"
    rustup toolchain install nightly --profile minimal || die "needs a nightly Rust toolchain"
}

# tool NAME VERSION: a program of Rust's, installed only if there is none of any version.
tool() {
    command -v "$1" >/dev/null && return 0
    heading "install $1 $2"
    cargo install --locked "$1" --version "$2"
}

# have TOOL: whether the machine has it, in a form that we can use.
have() {
    case $1 in
    # A busybox that is copied into a root file system must not need the host's libraries.
    busybox-static) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 ;;
    # Static linking takes the C library's archive besides the linker driver.
    cc) command -v cc >/dev/null && [ "$(cc -print-file-name=libc.a)" != libc.a ] ;;
    # Nobody types it.
    systemd) [ -x /lib/systemd/systemd ] ;;
    # A library's headers.
    libseccomp-dev) pkg-config --exists libseccomp 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# packages TOOL: the Debian packages that bring it.
packages() {
    case $1 in
    cc) echo gcc libc6-dev ;;
    c++) echo g++ ;;
    ps) echo procps ;;
    newuidmap) echo uidmap ;;
    mke2fs) echo e2fsprogs ;;
    xz) echo xz-utils ;;
    man) echo man-db ;;
    *) echo "$1" ;;
    esac
}

apt_updated=

# install PACKAGE…: through Debian's and Ubuntu's package manager, without a question.
install() {
    if [ -z "$apt_updated" ]; then
        apt-get update -q
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# need TOOL…: installs what is missing, or says what to install where we cannot.
need() {
    local tool missing=() packages=()
    for tool; do
        have "$tool" && continue
        missing+=("$tool")
        # shellcheck disable=SC2207 # package names have no blanks in them
        packages+=($(packages "$tool"))
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "missing: ${missing[*]}; install them with this system's package manager (on Debian and Ubuntu: ${packages[*]})"
    [ "$(id -u)" = 0 ] ||
        die "missing: ${missing[*]}; as root: apt-get install ${packages[*]}"
    heading "install ${packages[*]}"
    install "${packages[@]}"
    for tool in "${missing[@]}"; do
        have "$tool" || die "$tool is still missing after installing $(packages "$tool")"
    done
}

# want TOOL: like need, for what makes a comparison richer and is no condition of anything.
want() {
    have "$1" && return 0
    (need "$1") || note "going on without $1"
}
