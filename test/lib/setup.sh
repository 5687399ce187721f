# shellcheck shell=bash
# What demo/run and test/run need before they can start: packages, an ordinary user, a private directory, a copy of the
# installed PostgreSQL with pgleak in it, throw-away clusters, and the removal of all of it. They source it under
# `set -euo pipefail` and call clean_up from an EXIT trap. Sourcing it does nothing. It never touches a cluster or a process
# that it did not start, never writes into the machine's own PostgreSQL (one that already runs pgleak would find another
# library there), and needs root only for packages.

project_dir=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
server_user=      # who runs servers, set by choose_user
run_as=()         # the command prefix that becomes that user
temp_dir=         # the private directory, set by make_temp_dir
build_dir=        # the copy of the project that is built, set by copy_project
bindir=           # directory of the private PostgreSQL's programs, set by copy_server
injection_build_dir= # as build_dir, for the build that tests can stop, set by build_for_injection
injection_bindir=
cluster_port=     # port of the cluster started last
started_data=()   # data directories of the clusters started
started_pids=()   # processes started
apt_is_fresh=     # whether the package lists were fetched

# Tell the user what happens next.
say() { printf '\n==> %s\n' "$*"; }

# Give up with a reason.
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Run a command silently; if it fails, show the end of its output.
quietly() {
  local log status=0
  log=$(mktemp -p "${temp_dir:-/tmp}")
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 0 ] || { echo "failed: $*"; tail -n 40 "$log"; } >&2
  rm -f "$log"
  return "$status"
}

# Poll a command until it succeeds: wait_until SECONDS COMMAND...
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# Drop the parts of the caller's environment that would affect servers, clients and make: PGHOST would lead psql
# elsewhere.
forget_environment() {
  local name
  for name in $(compgen -e PG) PYTHONPATH PYTHONHOME MAKEFLAGS MFLAGS MAKELEVEL; do
    case $name in PG_CONFIG | PGLEAK*) ;; *) unset "$name" ;; esac
  done
}

# Run a command as root, through sudo when needed.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || die "needs root or sudo to run: $*"
  sudo "$@"
}

# apt-get for scripts: asks no questions, and waits if another apt-get is running.
apt_get() { quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@"; }

# Fetch the package lists, at most once.
apt_update() { [ -n "$apt_is_fresh" ] || { apt_get update && apt_is_fresh=yes; }; }

# Is this package installed?
has_package() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Install those of the named packages that are missing.
install_packages() {
  local package missing=()
  command -v apt-get >/dev/null || { say "no apt-get here, so these are taken for granted: $*"; return; }
  for package in "$@"; do has_package "$package" || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing packages: ${missing[*]}"
  apt_update
  apt_get install --no-install-recommends "${missing[@]}"
}

# Unpack packages into the private directory instead of installing them: unpack_packages PACKAGE... For daemons, whose
# packages would start them now and at each boot. Their programs are then in $temp_dir/unpacked/usr/bin. Skips packages
# whose program, which has the package's name, is already installed.
unpack_packages() {
  local package missing=() dir=$temp_dir/unpacked
  mkdir -p "$dir/packages"
  for package in "$@"; do command -v "$package" >/dev/null || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "no apt-get here; install these and put them into PATH: ${missing[*]}"
  say "fetching packages, to be unpacked and not installed: ${missing[*]}"
  (cd "$dir/packages" && quietly apt-get download "${missing[@]}") 2>/dev/null || {
    apt_update
    (cd "$dir/packages" && quietly apt-get download "${missing[@]}")
  }
  for package in "$dir"/packages/*.deb; do dpkg-deb -x "$package" "$dir"; done
}

# Install an optional package: try_package PACKAGE. Fails quietly if it does not exist, conflicts with what is
# installed, or packages cannot be installed here.
try_package() {
  ! has_package "$1" || return 0
  command -v apt-get >/dev/null || return 1
  (apt_update && apt-get install -s --no-install-recommends "$1") >/dev/null 2>&1 || return 1
  (install_packages "$1")
}

# Install the distribution's PostgreSQL server and headers, without the cluster that Debian would create and start with
# them.
install_server() {
  local version conf=/etc/postgresql-common/createcluster.conf ours=
  command -v apt-get >/dev/null || die "no PostgreSQL with server headers found: set PG_CONFIG"
  apt_update
  version=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
  if ! has_package postgresql-common && [ ! -e "$conf" ]; then
    ours=yes
    as_root mkdir -p "${conf%/*}"
    echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
  fi
  install_packages "postgresql-$version" "postgresql-server-dev-$version"
  # Leave the machine with the distribution's defaults, not with ours.
  [ -z "$ours" ] || as_root cp /usr/share/postgresql-common/createcluster.conf "$conf"
}

# Does this pg_config belong to an installation with a server, its headers and PGXS?
is_complete() {
  [ -x "$1" ] && [ -x "$("$1" --bindir)/postgres" ] && [ -f "$("$1" --pgxs)" ] &&
    [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# Print the pg_config to build against: $PG_CONFIG, else Debian's 15, else the newest in Debian's directories.
find_pg_config() {
  local candidate debian=/usr/lib/postgresql/15/bin/pg_config
  debian+=$(printf ' %s' /usr/lib/postgresql/*/bin/pg_config | xargs -n1 | sort -Vr | xargs printf ' %s')
  for candidate in ${PG_CONFIG:-$debian}; do
    if is_complete "$candidate"; then echo "$candidate"; return; fi
  done
  return 1
}

# Make sure that there is a PostgreSQL to build against.
need_server() {
  find_pg_config >/dev/null && return
  [ -z "${PG_CONFIG:-}" ] || die "PG_CONFIG=$PG_CONFIG: no server, headers and PGXS there (a full path is needed)"
  install_server
  find_pg_config >/dev/null || die "the installed PostgreSQL lacks the server, its headers or PGXS"
}

# Choose who runs servers: PostgreSQL refuses to run as root.
choose_user() {
  server_user=$(id -un)
  [ "$(id -u)" -eq 0 ] || return 0
  server_user=nobody
  ! id postgres >/dev/null 2>&1 || server_user=postgres
  run_as=(setpriv "--reuid=$(id -u "$server_user")" "--regid=$(id -g "$server_user")" --clear-groups)
}

# Run a command as that user. HOME is the private directory: no ~/.psqlrc, no ~/.pgpass, and nothing is left behind.
as_user() { HOME=$temp_dir TMPDIR=$temp_dir "${run_as[@]}" "$@"; }

# Give a path in the private directory to that user; -h, because the copy of PostgreSQL is full of symbolic links.
give_to_user() { [ ${#run_as[@]} -eq 0 ] || chown -hR "$server_user:" "$1"; }

# Make the private directory where that user can write and run programs; sockets need a short path, make one without
# spaces.
make_temp_dir() {
  local parent
  for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    [[ $parent == /* && $parent != *[[:space:]]* && ${#parent} -lt 60 ]] || continue
    temp_dir=$(mktemp -d "$parent/pgleak.XXXXXX") || continue
    give_to_user "$temp_dir"
    if as_user cp /bin/true "$temp_dir/probe" && as_user "$temp_dir/probe"; then rm "$temp_dir/probe"; return; fi
    rm -rf "$temp_dir"
  done 2>/dev/null
  die "no directory in which $server_user may write and run programs: set TMPDIR"
}

# Copy the project as it is now, so that a build leaves nothing in the work tree and finds nothing stale in it.
copy_project() {
  local file
  build_dir=$temp_dir/build
  mkdir "$build_dir"
  if git -C "$project_dir" rev-parse >/dev/null 2>&1; then
    git -C "$project_dir" ls-files -z -co --exclude-standard |
      while IFS= read -r -d '' file; do [ ! -f "$project_dir/$file" ] || printf '%s\0' "$file"; done |
      tar -C "$project_dir" --null -T - -cf - | tar -C "$build_dir" -xf -
  else
    cp -a "$project_dir/." "$build_dir/"
  fi
  give_to_user "$build_dir"
}

# Copy PostgreSQL. It finds its files relative to its programs, so a copy with the same layout works on its own.
copy_server() {
  local original dir root=$temp_dir/postgresql
  original=$(find_pg_config)
  for dir in "$("$original" --pkglibdir)" "$("$original" --sharedir)"; do
    mkdir -p "$root${dir%/*}"
    cp -as "$dir" "$root${dir%/*}/"                        # symbolic links: nearly nothing to copy
  done
  dir=$("$original" --bindir)
  bindir=$root$dir
  mkdir -p "$bindir"
  cp -aL "$dir"/{pg*,post*,psql,*db,*user} "$bindir/"      # files: a program resolves links to find its location
  for dir in "$("$original" --includedir)" "$("$original" --libdir)"; do
    mkdir -p "$root${dir%/*}"
    [ -e "$root$dir" ] || ln -s "$dir" "$root$dir"
  done
  find "$root" ! -type d -name 'pgleak*' -delete           # the machine's own pgleak is not the one to show or test
  give_to_user "$root"
  is_complete "$bindir/pg_config" || die "this PostgreSQL cannot be copied: $original"
}

# Build pgleak as the ordinary user and install it into the private PostgreSQL. A script that test/run calls uses the
# existing build.
build_extension() {
  if [ -n "${PGLEAK_BUILD_DIR:-}" ]; then
    build_dir=$PGLEAK_BUILD_DIR bindir=$PGLEAK_BINDIR
    return
  fi
  say "building pgleak for $("$(find_pg_config)" --version) in $temp_dir (your own PostgreSQL is not touched)"
  copy_project
  copy_server
  quietly as_user make -C "$build_dir" "PG_CONFIG=$bindir/pg_config" clean    # objects may have come with the copy
  quietly as_user make -j2 -C "$build_dir" "PG_CONFIG=$bindir/pg_config"
  quietly as_user make -C "$build_dir" "PG_CONFIG=$bindir/pg_config" install
}

# Build it again, in $injection_build_dir, with the injection points for test/injection/ and test/bench, into a
# PostgreSQL of its own, whose programs are in $injection_bindir.
build_for_injection() {
  local root=$temp_dir/injection
  injection_build_dir=$root/build injection_bindir=$root${bindir#"$temp_dir"}
  mkdir "$root"
  cp -a "$temp_dir/postgresql" "$build_dir" "$root/"
  give_to_user "$root"
  touch "$injection_build_dir/src/pg/injection.hpp"      # the only file that differs
  rm "$injection_build_dir/.built-for"                   # so the other objects fit
  quietly as_user make -j2 -C "$injection_build_dir" "PG_CONFIG=$injection_bindir/pg_config" PGLEAK_INJECTION=1
  quietly as_user make -C "$injection_build_dir" "PG_CONFIG=$injection_bindir/pg_config" PGLEAK_INJECTION=1 install
}

# Print a free port, below the range from which the kernel assigns ports to clients.
free_port() {
  local port=$((20000 + RANDOM % 12000))
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((20000 + RANDOM % 12000)); done
  echo "$port"
}

# Start a throw-away cluster with pgleak: start_cluster NAME [CONFIGURATION LINE]... Its data, log and socket are in the
# private directory, which no other user can enter; TCP, if a line enables it, needs a password.
start_cluster() {
  local data=$temp_dir/$1
  cluster_port=$(free_port)
  quietly as_user "$bindir/initdb" -D "$data" -U postgres -E UTF8 --locale=C --no-sync \
    --auth-local=trust --auth-host=scram-sha-256
  printf '%s\n' "port = $cluster_port" "unix_socket_directories = '$temp_dir'" "listen_addresses = ''" 'fsync = off' \
    "shared_preload_libraries = 'pgleak'" "${@:2}" >>"$data/postgresql.conf"
  started_data+=("$data")
  quietly as_user "$bindir/pg_ctl" start -w -t 60 -D "$data" -l "$data.log" || { tail "$data.log" >&2; return 1; }
}

# psql as superuser on the cluster started last: run_psql DATABASE [ARGUMENT]...
run_psql() { as_user "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$temp_dir" -p "$cluster_port" -U postgres -d "$@"; }

# Start a long-running process as the ordinary user, out of reach of the terminal's Ctrl-C: start_process LOG COMMAND...
start_process() {
  (HOME=$temp_dir exec setsid "${run_as[@]}" "${@:2}") >"$1" 2>&1 </dev/null &
  started_pids+=("$!")
  disown
}

# Is this process still one of ours? Process IDs are reused; HOME tells.
is_ours() { grep -qszFx "HOME=$temp_dir" "/proc/$1/environ"; }

# Stop a process as an orchestrator does: ask, wait a moment, then kill.
stop_process() {
  is_ours "$1" && kill -TERM "$1" || return 0
  wait_until 3 eval "! is_ours $1" || kill -KILL "$1"
}

# Stop and remove everything that was started and made here; call it from an EXIT trap.
clean_up() {
  local item
  trap '' INT TERM
  for item in "${started_pids[@]}"; do stop_process "$item"; done
  for item in "${started_data[@]}"; do
    [ ! -f "$item/postmaster.pid" ] || quietly as_user "$bindir/pg_ctl" stop -m immediate -w -t 30 -D "$item" || true
  done
  [ -z "$temp_dir" ] || rm -rf "$temp_dir"
  started_pids=() started_data=() temp_dir=
}

# Write a script that does the same later, for a caller that leaves things running.
write_stop_script() {
  { echo '#!/bin/bash'; declare -p temp_dir bindir run_as started_data started_pids
    declare -f quietly wait_until as_user is_ours stop_process clean_up; echo clean_up; } >"$1"
  chmod +x "$1"
}
