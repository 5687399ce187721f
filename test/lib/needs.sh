# shellcheck shell=bash
# Meets the needs of a test or a document beyond the server: packages, daemons that are only unpacked, node-pg and a Java
# compiler with the companions for them. test/clients/run and test/docs/run source it after setup.sh. It never starts a daemon, and never installs a
# package that would.

node_path=        # locations of node-pg and its companion, set by find_node_pg
java_class_path=  # the distribution's jars and the companion, set by build_java_companion

# Install what is named; false if it is not available everywhere: meet_needs NEED... A need is a package,
# daemon:PACKAGE, node-pg, java-compiler, or java-companion.
meet_needs() {
  local need ordinary=() daemons=() java=
  for need in "$@"; do
    case $need in
      node-pg) find_node_pg || return 1 ;;
      java-compiler) command -v javac >/dev/null || ordinary+=(default-jdk-headless) ;;
      java-companion)
        java=yes
        command -v javac >/dev/null || ordinary+=(default-jdk-headless)
        ordinary+=(libpostgresql-jdbc-java libhikaricp-java libslf4j-java junit5)
        ;;
      daemon:*) daemons+=("${need#*:}") ;;
      *) ordinary+=("$need") ;;
    esac
  done
  [ ${#ordinary[@]} -eq 0 ] || install_packages "${ordinary[@]}"
  [ ${#daemons[@]} -eq 0 ] || unpack_with_libraries "${daemons[@]}"
  [ -z "$java" ] || build_java_companion
}

# Build the companion for JDBC with javac, and name what its tests and applications need.
build_java_companion() {
  local name
  [ -z "$java_class_path" ] || return 0
  quietly as_user make -C "$build_dir/clients/java" "BUILD=$temp_dir/java"
  java_class_path=$temp_dir/java/pgleak-client.jar
  for name in HikariCP postgresql slf4j-api slf4j-simple junit-jupiter-api junit-jupiter-engine junit-platform-commons \
    junit-platform-engine junit-platform-launcher opentest4j apiguardian-api; do
    java_class_path+=:/usr/share/java/$name.jar
  done
}

# Unpack daemons, and install the libraries that their packages depend on, which start nothing.
unpack_with_libraries() {
  local package found
  unpack_packages "$@"
  for package in "$temp_dir"/unpacked/packages/*.deb; do
    [ -e "$package" ] || continue
    mapfile -t found < <(dpkg-deb -f "$package" Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ :|(]*\).*/\1/p')
    [ ${#found[@]} -eq 0 ] || install_packages "${found[@]}"
  done
}

# Find node-pg, its cursors and streams or get them: from the distribution, or through npm for a Node.js from another source, which does not work
# with the distribution's packages. False if it is not available; the rest can be tested without it.
find_node_pg() {
  [ -z "$node_path" ] || return 0
  as_user mkdir -p "$temp_dir/modules"
  as_user ln -sfn "$build_dir/clients/node" "$temp_dir/modules/pgleak-client"
  if try_package node-pg; then
    node_path=/usr/share/nodejs:$temp_dir/modules
    return
  fi
  mkdir -p "$temp_dir/node"
  give_to_user "$temp_dir/node"
  command -v node >/dev/null && command -v npm >/dev/null &&
    quietly as_user npm install --prefix "$temp_dir/node" --no-audit --no-fund --no-save pg@8 pg-cursor@2 pg-query-stream@4 pg-copy-streams ||
    { say 'node-pg is skipped: it cannot be installed'; return 1; }
  node_path=$temp_dir/node/node_modules:$temp_dir/modules
}
