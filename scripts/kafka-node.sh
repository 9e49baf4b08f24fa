#!/usr/bin/env bash
# Apache Kafka's nodes one by one, for tests that stop, kill and pause them. `./run test` fetches Kafka first and stops
# what is left below .data/test-kafka in the end.
set -euo pipefail
ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
DATA=$ROOT/.data

source "$ROOT/scripts/common.sh"
source "$ROOT/scripts/kafka.sh"

usage() {
  cat <<'TEXT'
A cluster is a folder, best made below .data/test-kafka; its nodes are the folders 1 to 3 in it.

  scripts/kafka-node.sh create CLUSTER KIND  make a cluster with ports of its own, stopped; prints HOST:PORT,...
                                             KIND: 1 or 3 nodes, or `secure`: one with TLS and SASL, whose
                                             certificate and the user postledger's password are in CLUSTER
                        start NODE...        start them together; returns once each is a live broker (120 s at most).
                                             One of three needs a second to be up
                        stop NODE...         SIGTERM, and after 20 s SIGKILL
                        kill NODE...         SIGKILL
                        pause NODE...        SIGSTOP
                        resume NODE...       SIGCONT
                        remove CLUSTER...    kill what runs of it, delete its data
                        tool NAME ...        Kafka's own kafka-NAME.sh, as ./run kafka-tool

A node that was stopped or killed starts again on its ports with its data. Stopping what does not run is no error.
TEXT
}

create() {
  kafka_fetched || die "Kafka was not fetched yet: ./run test does it"
  [[ $2 == [13] || $2 == secure ]] || die "a cluster has 1 node or 3, or is secure"
  [[ ! -e $1 ]] || die "$1 exists already"
  mkdir -p "${1%/*}"
  kafka_configure "$1" "$2"
  cat "$1/brokers"
}

remove() {
  local cluster
  for cluster; do
    [[ -f $cluster/id && -f $cluster/port ]] || die "$cluster is no cluster of Kafka"
    kafka_remove "$(readlink -f "$cluster")"
  done
}

# Fills `nodes`.
find_nodes() {
  local node
  (($#)) || die "which node? See scripts/kafka-node.sh help"
  for node; do
    [[ -f $node/server.properties ]] || die "$node is no node of Kafka"
    nodes+=("$(readlink -f "$node")")
  done
}

command=${1:-help}
(($# == 0)) || shift
nodes=()
case $command in
  create) create "$(readlink -m "${1:?which folder?}")" "${2-}" ;;
  start | stop | kill) find_nodes "$@"; "kafka_$command" "${nodes[@]}" ;;
  pause) find_nodes "$@"; kafka_signal STOP "${nodes[@]}" ;;
  resume) find_nodes "$@"; kafka_signal CONT "${nodes[@]}" ;;
  remove) remove "$@" ;;
  tool) kafka_tool "$@" ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
