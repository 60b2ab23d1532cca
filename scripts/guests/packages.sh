# Debian's packages, unpacked beside the system: QEMU, kernels, and what a guest needs. Sourced by ../guest, never run.
#
# Nothing is installed. Each suite of Debian's has an apt configuration of its own, which is the machine's, proxies and all,
# but for where its lists and archives are, which packages it takes for installed (none), and the suite's name in the addresses of
# the machine's own sources.

# Where apt keeps what Debian signs with.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt_of SUITE COMMAND…: apt-get or apt-cache, of that suite.
apt_of() {
    local dir=$guests_dir/apt/$1 command=$2
    shift 2
    "$command" -q \
        -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts="$dir/none" \
        -o Dir::Etc::preferences="$dir/none" -o Dir::Etc::preferencesparts="$dir/none" \
        -o Dir::State="$dir" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Install-Recommends=false -o APT::Sandbox::User=root \
        "$@"
}

# sources_of SUITE: the machine's own sources of Debian's, for another suite.
sources_of() {
    local origin label uri signed=
    [ ! -e "$keyring" ] || signed=[signed-by=$keyring]
    # shellcheck disable=SC2016 # apt's own, not the shell's
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sort -u |
        while IFS='|' read -r origin label uri; do
            case $origin/$label in
            Debian/Debian) echo "deb $signed $uri $1 main" ;;
            Debian/Debian-Security) echo "deb $signed $uri $1-security main" ;;
            esac
        done
}

# update SUITE: has its lists, once a run.
update() {
    local dir=$guests_dir/apt/$1
    [ -z "${updated[$1]:-}" ] || return 0
    updated[$1]=yes
    mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/none"
    : >"$dir/status"
    # Who signs for what, apt knows only once it has been there.
    sources_of "$1" >"$dir/sources.list"
    if [ ! -s "$dir/sources.list" ]; then
        apt-get update -q
        sources_of "$1" >"$dir/sources.list"
    fi
    [ -s "$dir/sources.list" ] || die "guests are made of Debian's packages, and apt on this machine knows no source of them"
    apt_of "$1" apt-get update
}
declare -A updated=()

# unpack SUITE DIRECTORY PACKAGE…: makes DIRECTORY, with these packages and all that they depend on in it. Costs nothing if it is
# there; that it is there means that it is whole.
unpack() {
    local suite=$1 to=$2 archive
    shift 2
    [ ! -e "$to" ] || return 0
    heading "unpack $* of Debian $suite"
    update "$suite"
    apt_of "$suite" apt-get install -y --download-only "$@"
    unpack_archives "$suite" "$to"
}

# unpack_only SUITE DIRECTORY PACKAGE: as unpack, without what it depends on.
unpack_only() {
    local suite=$1 to=$2
    [ ! -e "$to" ] || return 0
    heading "unpack $3 of Debian $suite"
    update "$suite"
    (cd "$guests_dir/apt/$suite/archives" && apt_of "$suite" apt-get download "$3")
    unpack_archives "$suite" "$to"
}

unpack_archives() {
    local archives=$guests_dir/apt/$1/archives archive
    rm -rf "$2.new"
    mkdir -p "$2.new"
    for archive in "$archives"/*.deb; do
        dpkg-deb -x "$archive" "$2.new"
        rm "$archive"
    done
    mv "$2.new" "$2"
}

# dependency SUITE PACKAGE: the first package that it depends on, as a kernel's name without a version does on the latest.
dependency() {
    apt_of "$1" apt-cache --no-all-versions show "$2" | sed -n 's/^Depends: \([^ ,]*\).*/\1/p'
}
