#!/bin/sh
# start.sh: one Kafka broker in KRaft mode in the foreground, for tests.
# usage: start.sh <folder for its data> <port> <controller port> [<inner port> <tls folder> <user> <password>]
# With the last four, clients come by SASL_SSL with SCRAM-SHA-512: the folder has
# kafka.pem, kafka.key and ca.pem; the broker talks to itself on the inner port.
# It keeps everything in that folder and ends with TERM. Needs java, and the jars
# in libs/ (AEGIS_KAFKA_LIBS names another folder).
set -eu

dir=$1 port=$2 controller=$3
here=$(cd "$(dirname "$0")" && pwd)
libs=${AEGIS_KAFKA_LIBS:-$here/libs}
inner=${4:-} tls=${5:-} user=${6:-} password=${7:-}

mkdir -p "$dir"
cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$dir/log
num.network.threads=2
num.io.threads=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
END

scram=
if [ -n "$inner" ]; then
    cat "$tls/kafka.key" "$tls/kafka.pem" >"$dir/keystore.pem"
    sed -i '/^listeners=\|^advertised.listeners=/d' "$dir/server.properties"
    cat >>"$dir/server.properties" <<END
listeners=SASL_SSL://127.0.0.1:$port,INNER://127.0.0.1:$inner,CONTROLLER://127.0.0.1:$controller
advertised.listeners=SASL_SSL://127.0.0.1:$port,INNER://127.0.0.1:$inner
listener.security.protocol.map=SASL_SSL:SASL_SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INNER
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=$dir/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$tls/ca.pem
END
    scram="--add-scram SCRAM-SHA-512=[name=$user,password=$password]"
fi

java='java -Xmx256m -Xms128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn'
id=$($java -cp "$libs/*" kafka.tools.StorageTool random-uuid | tail -n 1)
$java -cp "$libs/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" --ignore-formatted $scram >"$dir/format.log" 2>&1
exec $java -cp "$libs/*" kafka.Kafka "$dir/server.properties"
