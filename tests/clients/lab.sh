# What the client lab's scripts share; sourced, not run. Everything that is fetched or built goes to $LAB, outside
# the repository, so that a second run finds it there. Each need_* makes its thing there on a fresh machine and
# returns non-zero, having said why, where the machine lacks the runtime for it.
LAB=${CORELOG_LAB_DIR:-}
if [ -z "$LAB" ]; then
  if [ -w /work ]; then LAB=/work/lab-cache; else LAB=${TMPDIR:-/tmp}/corelog-lab; fi
fi
mkdir -p "$LAB"
export CORELOG_LAB_DIR=$LAB
lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Waits until something listens on 127.0.0.1:PORT, or the process PID is gone, or 40 s have passed.
wait_port() { # port, pid
  local _
  for _ in $(seq 1 400); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# Runs a command unless FILE's text is what it was when the command last succeeded.
once() { # stamp, file whose text counts, command...
  local stamp=$1 text=$2
  shift 2
  if [ -f "$stamp" ] && cmp -s "$stamp" "$text"; then return 0; fi
  "$@" >&2 || return 1
  mkdir -p "$(dirname "$stamp")" && cp "$text" "$stamp"
}

lacks() { # command...: true, and a line that says so, if one of them is missing
  local c
  for c in "$@"; do command -v "$c" >/dev/null || { echo "lacks $c" >&2; return 0; }; done
  return 1
}

need_python() {
  lacks python3 && return 1
  make_venv() {
    python3 -m venv "$LAB/venv" && "$LAB/venv/bin/pip" install -q --disable-pip-version-check -r "$lab_dir/requirements.txt"
  }
  once "$LAB/venv/.stamp" "$lab_dir/requirements.txt" make_venv
  PYTHON=$LAB/venv/bin/python
}

need_kcat() {
  command -v kcat >/dev/null && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    (apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq kcat) >&2 || true
  fi
  ! lacks kcat
}

need_node() {
  lacks node npm && return 1
  make_modules() {
    mkdir -p "$LAB/node" && cp "$lab_dir/package.json" "$LAB/node/" && (cd "$LAB/node" && npm install --no-audit --no-fund --loglevel=error)
  }
  once "$LAB/node/.stamp" "$lab_dir/package.json" make_modules
}

need_kafka() { # the jars of Apache Kafka
  lacks java mvn && return 1
  "$lab_dir/kafka-reference.sh" get
}

need_java() { # the driver and the client's jars, by Maven
  lacks java mvn && return 1
  cat "$lab_dir"/java/src/main/java/lab/*.java "$lab_dir/java/pom.xml" >"$LAB/java.text"
  make_driver() {
    mvn -q -B -f "$lab_dir/java/pom.xml" -Dout="$LAB/java" compile dependency:copy-dependencies
  }
  once "$LAB/java/.stamp" "$LAB/java.text" make_driver
  JAVA_CLASSPATH="$LAB/java/classes:$LAB/java/dependency/*"
}

need_go() {
  lacks go && return 1
  (cd "$lab_dir/go" && cat go.mod go.sum ./*/*.go) >"$LAB/go.text"
  make_go() {
    mkdir -p "$LAB/go" && (cd "$lab_dir/go" && GOFLAGS=-mod=readonly GOTOOLCHAIN=local go build -o "$LAB/go/" ./...)
  }
  once "$LAB/go/.stamp" "$LAB/go.text" make_go
}
