#!/usr/bin/env bash
# Prepare the environment, then run a command in it.
#
#   ./submit.sh                       run the nightly job on the built-in sample of real MovieLens ratings
#   ./submit.sh test [...]            run lint, types and all tests; with pytest arguments, only pytest
#   ./submit.sh train ...             train a model, which replaces the current version unless it is worse
#   ./submit.sh score ...             score every user and publish the tables; spark-submit's flags are accepted too
#   ./submit.sh nightly ...           train if due, score, publish, report, clean up; the command for cron
#   ./submit.sh report ...            write a run and its model as one HTML page
#   ./submit.sh models ...            list model versions, promote one, roll back, import one from elsewhere
#   ./submit.sh tables ...            list published dates; take one back, and latest follows
#   ./submit.sh export --to URL       load the newest run into the PostgreSQL or Redis that a site reads
#   ./submit.sh forget USER...        erase users from all that is published or kept; --users FILE for many
#   ./submit.sh evaluate ...          measure a preset against baselines: popularity, biases, EASE, ALS
#   ./submit.sh backtest FROM..TO     replay nights of the past, and draw what came of them over time
#   ./submit.sh search ...            search for better values of a preset's fields, on validation ratings
#   ./submit.sh show USER             print one user's recommendations
#   ./submit.sh predict USER MOVIE... predict one user's ratings of movies
#   ./submit.sh capacity ...          forecast time, memory and cost for a number of users, movies and cores
#   ./submit.sh init DIR              write a folder to start from: settings, crontab, units of systemd
#   ./submit.sh settings              print the settings in force and where each comes from
#   ./submit.sh benchmark ...         measure scoring speed against other libraries; benchmark scale ...: at large sizes;
#                                     benchmark new_movies ...: quality of lists of movies without ratings;
#                                     benchmark trending ...: and of lists of users without ratings;
#                                     benchmark similar ...: and of similar movies;
#                                     benchmark export: lists into PostgreSQL and Redis;
#                                     benchmark kills | readers | nights: commands killed, readers at work, many nights
#
# Each command has its own help: ./submit.sh train --help
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv
for_export="[postgresql,redis]" # extras

fail() {
    echo "Error: $1" >&2
    exit 2
}

# -- environment ---------------------------------------------------------------------------------------------------

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.10 to 3.13 found; install one, or name it: PYTHON=/path/to/python3.11 ./submit.sh"
}

apt_install() { # package...; only if no password is needed
    command -v apt-get >/dev/null || return 1
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo -n)
    "${sudo[@]}" apt-get update -qq >/dev/null 2>&1 &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

make_venv() {
    local python
    python=$(find_python)
    "$python" -m venv "$venv" 2>/dev/null ||
        { apt_install python3-venv && "$python" -m venv "$venv"; } ||
        fail "$python cannot create virtual environments; install its venv package (Debian: apt install python3-venv)"
}

# Install the package with the extras $1 in the locked versions; instant if it has them, or more, already.
prepare_python() {
    local extras=$1 wanted level enough="" levels=("" "[sample]" "[sample,test]") # each includes the one before it
    case $extras in
        "$for_export") levels=("$for_export" "[sample,test]") ;;
        *mlflow*) levels=("[mlflow]" "[sample,mlflow]" "[sample,test]") ;;
    esac
    wanted=$(cat "$root/setup.py" "$root/conf/requirements.lock" | cksum)
    for level in "${levels[@]}"; do
        [ "$level" != "$extras" ] || enough=yes
        if [ -n "$enough" ] && [ -f "$venv/installed$level" ] && [ "$(cat "$venv/installed$level")" = "$wanted" ]; then
            return
        fi
    done
    echo "Preparing .venv (once; about 3 GB and a few minutes) ..." >&2
    [ -x "$venv/bin/python" ] || make_venv
    local pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check install -c "$root/conf/requirements.lock")
    "${pip[@]}" setuptools wheel
    "${pip[@]}" --no-build-isolation -e "$root$extras"
    echo "$wanted" >"$venv/installed$extras"
}

java_works() { # path of java; succeeds for version 17 or newer
    local version
    version=$("$1" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

prepare_java() {
    if [ -n "${JAVA_HOME:-}" ] && java_works "$JAVA_HOME/bin/java"; then return; fi
    [ -z "${JAVA_HOME:-}" ] || echo "JAVA_HOME, $JAVA_HOME, is no Java 17 or newer; another one is used." >&2
    unset JAVA_HOME
    java_works java && return
    echo "Installing a Java runtime ..." >&2
    { apt_install openjdk-17-jre-headless || apt_install openjdk-21-jre-headless; } && java_works java && return
    fail "no Java 17 or newer found; install one (Debian: apt install openjdk-17-jre-headless) or set JAVA_HOME"
}

prepare_chromium() { # in which the tests open the report
    local browser
    for browser in chromium chromium-browser google-chrome; do
        command -v "$browser" >/dev/null && return
    done
    echo "Installing Chromium ..." >&2
    apt_install chromium || echo "Chromium could not be installed: the tests that open the report are skipped" >&2
}

prepare_databases() { # into which the tests export
    local postgres=(/usr/lib/postgresql/*/bin/initdb)
    { [ -x "${postgres[0]}" ] || command -v initdb >/dev/null; } && command -v redis-server >/dev/null && return
    echo "Installing PostgreSQL and Redis ..." >&2
    apt_install postgresql redis-server ||
        echo "PostgreSQL and Redis could not be installed: the tests that export to them are skipped" >&2
}

# -- commands ------------------------------------------------------------------------------------------------------

prepare() { # extras, then "java" if the command needs Spark
    prepare_python "$1"
    [ "${2:-}" != java ] || prepare_java
    export PATH="$venv/bin:$PATH" PYSPARK_PYTHON="${PYSPARK_PYTHON:-$venv/bin/python}"
    export PYSPARK_DRIVER_PYTHON="$venv/bin/python" SPARK_CONF_DIR="${SPARK_CONF_DIR:-$root/conf}"
    export RECMODEL_SPARK_LOG="${RECMODEL_SPARK_LOG:-$root/var/log/spark.log}"
    unset SPARK_HOME # so that the locked Spark is used, not another one of this machine
}

extras_for() { # sample if --data, or otherwise the settings, name it; mlflow if its address is set: "[sample,mlflow]"
    local settings=${RECMODEL_CONF:-$root/conf}/settings.yaml previous="" data="" extras=""
    for argument in "$@"; do
        [ "$previous" != --data ] || data=${data:-$argument}
        previous=$argument
    done
    if [ "$data" = sample ] || { [ -z "$data" ] && grep -Eqs '^ *data: *sample' "$settings"; }; then extras=sample; fi
    if [ -n "${RECMODEL_MLFLOW__TRACKING_URI:-}${MLFLOW_TRACKING_URI:-}" ] ||
        grep -Eqs '^ *tracking_uri: *"?[^" #]' "$settings"; then
        extras=${extras:+$extras,}mlflow
    fi
    [ -z "$extras" ] || echo "[$extras]"
}

command=${1:-}
shift || true
case $command in
    "")
        prepare "$(extras_for --data sample)" java
        exec recmodel nightly --data sample
        ;;
    test)
        prepare "[sample,test]" java
        prepare_chromium
        prepare_databases
        export SPARK_LOCAL_IP=127.0.0.1
        cd "$root"
        if (($#)); then exec python -m pytest "$@"; fi
        ruff check .
        ruff format --check .
        mypy & # next to the tests, as a processor is idle now and then
        failed=0
        # Two processes, of which one has a Spark session; in the order of tests/conftest.py.
        python -m pytest -n 2 --no-loadscope-reorder || failed=$?
        wait $! || failed=$?
        exit "$failed"
        ;;
    init | train | backtest | show | predict | models | tables | forget | report | settings)
        prepare "$(extras_for "$@")"
        exec recmodel "$command" "$@"
        ;;
    export)
        prepare "$for_export"
        exec recmodel export "$@"
        ;;
    search) # and what evaluate compares with are among the tools of the tests
        prepare "[sample,test]"
        exec recmodel search "$@"
        ;;
    score | nightly | evaluate | capacity)
        case " $* " in *" --peers "*) prepare "[sample,test]" ;; esac
        prepare "$(extras_for "$@")" java
        exec recmodel "$command" "$@"
        ;;
    benchmark)
        prepare "[sample,test]" java
        script=scoring
        case ${1:-} in scale | new_movies | trending | similar | export | kills | readers | nights) script=$1 && shift ;; esac
        [ "$script" != export ] || prepare_databases
        exec python "$root/tests/benchmarks/$script.py" "$@"
        ;;
    -h | --help | help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" ;;
    *) fail "there is no command $command; ./submit.sh --help lists them" ;;
esac
