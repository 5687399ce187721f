# shellcheck shell=bash
# Bare Debian roots: one is made once, and copied for every test that needs to start with nothing.
# test/package/run and test/docs/newcomer source it in the project's directory under `set -euo pipefail`, as root, and call
# leave_root from an EXIT trap. Roots are cached where test/versions/make-root keeps its own. It never touches the machine's
# own installation, and leaves nothing mounted or running.

cache=${PGLEAK_ROOTS:-/var/cache/pgleak/roots}
root=             # the root in use, set by enter

mount_root() {
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
}

umount_root() {
  [ -n "$root" ] || return 0
  umount -q "$root/dev/shm" "$root/proc" || true
}

# Stop what still runs in the root, then forget the root.
leave_root() {
  [ -z "$root" ] || ! command -v fuser >/dev/null || fuser -k -M -m "$root/dev/shm" >/dev/null 2>&1 || true
  umount_root
}

inside() {
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root \
    "$@" </dev/null
}

# Run a command silently; if it fails, show the end of its output.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  [ "$status" -eq 0 ] || tail -n 60 "$log" >&2
  rm -f "$log"
  return "$status"
}

# Use a fresh copy of a root: enter NAME ROOT.
enter() {
  umount_root
  root=$cache/$1
  rm -rf "$root"
  cp -a "$2" "$root"
  mount_root
}

# Copy the project, as it is now, into a directory of the root.
bring_project() {
  mkdir -p "$root/$1"
  git ls-files -z -co --exclude-standard | tar --null -T - -cf - | tar -C "$root/$1" -xf -
}

# A root with nothing in it, made once, in $cache/package-base.
make_base() {
  local source mirror
  [ ! -e "$cache/package-base/.complete" ] || return 0
  source=$(test/versions/make-root 15)
  mirror=$(awk '$1 == "deb" { print $2; exit }' "$source/etc/apt/sources.list")
  rm -rf "$cache/package-base"
  quietly debootstrap --variant=minbase --cache-dir="$cache/debs-bookworm" bookworm "$cache/package-base" "$mirror"
  cp -a "$source/etc/apt/." "$cache/package-base/etc/apt/"
  cp -a "$source/usr/sbin/policy-rc.d" "$cache/package-base/usr/sbin/"
  mkdir -p "$cache/package-base/etc/postgresql-common"
  cp "$source/etc/postgresql-common/createcluster.conf" "$cache/package-base/etc/postgresql-common/"
  touch "$cache/package-base/.complete"
}
