# shellcheck shell=bash
# An Apache Kafka of our own, apart from any other on the machine. Sourced by ./run and scripts/kafka-node.sh.
# A cluster is a folder: `.data/kafka` (the stack's), or one below `.data/test-kafka` (the tests', thrown away).
# A node is a folder in it, 1 to 3: its configuration, data, log, and which process it is.

KAFKA_FILES=$ROOT/scripts/kafka
KAFKA_VERSION=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$KAFKA_FILES/pom.xml")
KAFKA_HOME=$DATA/tools/kafka-$KAFKA_VERSION
KAFKA_PORTS=6 # of a cluster: two for each of three nodes
KAFKA_SECONDS=120 # to start; alone on two cores it takes 3

# java_bin: prints a Java that Kafka runs on.
java_bin() {
  local java version
  for java in "${JAVA_HOME-}/bin/java" "$(command -v java)" /usr/lib/jvm/*/bin/java; do
    [[ -x $java ]] || continue
    version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p') || continue
    if ((${version:-0} >= 17)); then echo "$java"; return; fi
  done
  return 1
}

kafka_fetched() { cmp -s "$KAFKA_FILES/pom.xml" "$KAFKA_HOME/pom.xml"; }

# Java and Kafka where they are missing; dies where they can't be had.
kafka_install() {
  install_packages kafka
  kafka_fetched || check_disk "$ROOT" 1
  kafka_fetch || die "Apache Kafka could not be fetched, see above, and .data/log/maven.log"
}

# Fetched beside its place and moved there whole. An `up` and a `test` of one clone may both come here.
kafka_fetch() {
  local new=$KAFKA_HOME.new
  mkdir -p "$DATA/tools"
  exec 8>>"$DATA/tools/kafka.lock"
  flock 8
  if ! kafka_fetched; then
    rm -rf "$new"
    mkdir "$new"
    cp "$KAFKA_FILES/pom.xml" "$new/"
    # -C: a wrong checksum is an error. -U: what once could not be found is asked for again.
    timeout 900 mvn -B -q -ntp -C -U -f "$new/pom.xml" \
      org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies -DoutputDirectory="$new/libs" \
      >"$DATA/log/maven.log" 2>&1 || { grep -m 1 ERROR "$DATA/log/maven.log" >&2; return 1; }
    sync -f "$new"
    rm -rf "$KAFKA_HOME"
    mv "$new" "$KAFKA_HOME"
  fi
  exec 8>&-
}

# kafka_configure CLUSTER 1|3|secure: makes a cluster, or makes a stopped one ready to start again.
kafka_configure() {
  local cluster=$1 kind=$2 nodes=$2 port node voters='' brokers=''
  [[ $kind != secure ]] || nodes=1
  install -d -m 700 "$cluster"
  [[ -s $cluster/id ]] || kafka_id >"$cluster/id"
  kafka_choose_ports "$cluster"
  port=$(<"$cluster/port")
  for ((node = 0; node < nodes; node++)); do
    brokers+=,127.0.0.1:$((port + 2 * node))
    voters+=,$((node + 1))@127.0.0.1:$((port + 2 * node + 1))
  done
  for ((node = 0; node < nodes; node++)); do
    kafka_configure_node "$cluster/$((node + 1))" $((port + 2 * node)) "$kind" "${voters#,}"
  done
  [[ $kind != secure ]] || brokers=,localhost:$((port + 2))
  echo "${brokers#,}" >"$cluster/brokers"
}

# Kafka's form of 16 random bytes, but for the two signs that a command line could take for something else.
kafka_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c 1-22; }

# Below 32768, where no outgoing connection takes them. By the folder that the cluster is in, so that two clones which start
# at once look in different places; clusters beside one another share a lock, and keep the ports of nodes that are stopped.
kafka_choose_ports() {
  local first
  first=$((20000 + $(printf %s "${1%/*}" | cksum | cut -d ' ' -f 1) % 2000 * KAFKA_PORTS))
  exec 8>>"${1%/*}/kafka.lock"
  flock 8
  if [[ -s $1/port ]]; then first=$(<"$1/port"); rm "$1/port"; fi
  while kafka_ports_taken "$first" || grep -qsx "$first" "${1%/*}"/*/port; do first=$((first + KAFKA_PORTS)); done
  echo "$first" >"$1/port"
  exec 8>&-
}

kafka_ports_taken() {
  local port
  for ((port = $1; port < $1 + KAFKA_PORTS; port++)); do
    if port_taken "$port"; then return 0; fi
  done
  return 1
}

# kafka_configure_node NODE PORT 1|3|secure VOTERS. Voters are static: named by the file alone, their ports can change.
kafka_configure_node() {
  local node=$1 kind=one listeners="PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$(($2 + 1))" format=() mechanism
  [[ $3 != 3 ]] || kind=three
  install -d -m 700 "$node" "$node/log"
  {
    cat "$KAFKA_FILES/node.properties" "$KAFKA_FILES/$kind.properties"
    if [[ $3 == secure ]]; then
      listeners+=",SECURE://localhost:$(($2 + 2))"
      kafka_secure_node "$node"
    fi
    printf '\n%s\n' "node.id=${node##*/}" "log.dirs=$node/data" "controller.quorum.voters=$4" "listeners=$listeners"
  } >"$node/server.properties"
  if [[ $3 == secure ]]; then
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      format+=(--add-scram "$mechanism=[name=postledger,password=$(<"${node%/*}/password")]")
    done
  fi
  [[ -f $node/data/meta.properties ]] || # which is written last
    kafka_java kafka.tools.StorageTool format -t "$(<"${node%/*}/id")" -c "$node/server.properties" "${format[@]}" >"$node/log/format.log" 2>&1 ||
    die_with "$node/log/format.log" "Kafka's storage could not be formatted, see above."
}

# kafka_secure_node NODE: prints its settings. The cluster's `ca.pem` is what clients trust, `password` is the user postledger's.
kafka_secure_node() {
  local cluster=${1%/*} keytool
  keytool=$(dirname "$(java_bin)")/keytool
  if [[ ! -s $cluster/ca.pem ]]; then
    kafka_id >"$cluster/password"
    "$keytool" -genkeypair -alias node -keyalg EC -dname CN=localhost -ext san=dns:localhost -validity 30 \
      -keystore "$cluster/node.p12" -storetype PKCS12 -storepass:file "$cluster/password" >"$cluster/keytool.log" 2>&1 &&
      "$keytool" -exportcert -rfc -alias node -keystore "$cluster/node.p12" -storepass:file "$cluster/password" \
        >"$cluster/ca.pem" 2>>"$cluster/keytool.log" || die "no certificate could be made, see $cluster/keytool.log"
  fi
  cat "$KAFKA_FILES/secure.properties"
  printf 'listener.name.secure.%s\n' "ssl.keystore.location=$cluster/node.p12" "ssl.keystore.password=$(<"$cluster/password")" \
    "plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_postledger=\"$(<"$cluster/password")\";"
}

# kafka_start NODE...: together, since three wait for one another. Returns once each is a live broker.
kafka_start() {
  local node
  for node; do kafka_launch "$node"; done
  for node; do kafka_await "$node"; done
}

# Under a lock, so that of two who start a node at once the second finds it started.
kafka_launch() (
  node=$1
  java=$(java_bin) || die "Java 17 or later is missing"
  exec 8>>"$node/lock"
  flock 8
  ! remembered_process "$node/process" >/dev/null || exit 0
  cd "$node" || exit # a crashed JVM leaves its report there
  # In a session of its own, so that the terminal's Ctrl-C reaches the script alone, which then stops things in their order.
  setsid "$java" -Xmx384m -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -cp "$KAFKA_HOME/libs/*" \
    -Dkafka.logs.dir="$node/log" -Dlog4j2.configurationFile="$KAFKA_FILES/log4j2.xml" \
    kafka.Kafka "$node/server.properties" >log/output 2>&1 </dev/null 8>&- 9>&- &
  remember_process "$node/process" $!
)

kafka_await() {
  local node=$1 deadline=$((SECONDS + KAFKA_SECONDS)) port
  port=$(sed -n 's#^listeners=PLAINTEXT://127.0.0.1:\([0-9]*\),.*#\1#p' "$node/server.properties")
  until kafka_answers "$port" "${node##*/}" 2>/dev/null; do
    if ((SECONDS > deadline)) || ! remembered_process "$node/process" >/dev/null; then
      tail -n 20 "$node/log/output" >&2 || true
      die_with "$node/log/server.log" "Kafka did not become ready: see above, and $node/log"
    fi
    sleep 0.1
  done
}

# kafka_answers PORT ID: whether the node that listens there counts itself among the live brokers. A Metadata request
# of version 1 without topics; the answer lists brokers as id, host, port: https://kafka.apache.org/protocol#The_Messages_Metadata
kafka_answers() (
  self=$(printf '%08x0009%s%08x' "$2" "$(printf 127.0.0.1 | od -An -tx1 | tr -d ' ')" "$1")
  exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf '\0\0\0\016\0\003\0\001\0\0\0\0\377\377\0\0\0\0' >&3
  size=$(timeout 2 head -c 4 <&3 | od -An -tu4 --endian=big)
  [[ $(timeout 2 head -c "$((size))" <&3 | od -An -v -tx1 | tr -d ' \n') == *"$self"* ]]
)

# kafka_signal SIGNAL NODE...
kafka_signal() {
  local node pid
  for node in "${@:2}"; do
    if pid=$(remembered_process "$node/process"); then kill "-$1" "$pid"; fi
  done
}

# kafka_stop NODE...: all are asked at once. One that is paused could not hear it.
kafka_stop() {
  local node
  kafka_signal TERM "$@"
  kafka_signal CONT "$@"
  for node; do stop_process "$node/process" 20; done
}

# kafka_kill NODE...: gone when it returns.
kafka_kill() {
  local node
  kafka_signal KILL "$@"
  for node; do
    while remembered_process "$node/process" >/dev/null; do sleep 0.02; done
    rm -f "$node/process"
  done
}

# kafka_remove CLUSTER...: thrown away, so nothing has to be stopped cleanly.
kafka_remove() {
  local cluster
  for cluster; do
    kafka_kill "$cluster"/[1-3]
    rm -rf "$cluster"
  done
}

# kafka_java CLASS ARGUMENT...: a tool, which runs for a second or two.
kafka_java() {
  "$(java_bin)" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$KAFKA_HOME/libs/*" \
    -Dlog4j2.configurationFile="$KAFKA_FILES/log4j2-tools.xml" "$@"
}

# kafka_tool NAME ARGUMENT...: what Kafka's own distribution calls kafka-NAME.sh. Asks the stack that is up, unless told otherwise.
kafka_tool() {
  local class brokers
  case ${1-} in
    broker-api-versions) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
    configs) class=kafka.admin.ConfigCommand ;;
    console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
    consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    delete-records) class=org.apache.kafka.tools.DeleteRecordsCommand ;;
    dump-log) class=org.apache.kafka.tools.DumpLogSegments ;;
    get-offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
    metadata-quorum) class=org.apache.kafka.tools.MetadataQuorumCommand ;;
    producer-perf-test) class=org.apache.kafka.tools.ProducerPerformance ;;
    topics) class=org.apache.kafka.tools.TopicCommand ;;
    *) die "no tool '${1-}'; there are broker-api-versions, configs, console-consumer, console-producer, consumer-groups, delete-records, dump-log, get-offsets, metadata-quorum, producer-perf-test and topics" ;;
  esac
  shift
  kafka_fetched || die "Kafka was not fetched yet: ./run up --kafka, or ./run test"
  # It reads files and asks nobody.
  if [[ $class != org.apache.kafka.tools.DumpLogSegments && " $* " != *" --bootstrap-"* ]]; then
    brokers=$(sed -n 's/.*"kafka": "\([^"]*\)".*/\1/p' "$DATA/stack.json" 2>/dev/null) || true
    [[ -n $brokers ]] || die "no stack with Kafka is up: ./run up --kafka, or name one by --bootstrap-server HOST:PORT"
    set -- --bootstrap-server "$brokers" "$@"
  fi
  kafka_java "$class" "$@"
}
