/*
 * kafka_mock.c: librdkafka's mock Kafka cluster as a process of its own, for
 * machines where no real broker can be had, and for what a real one does seldom.
 * It prints its bootstrap servers on one line and obeys lines until its standard
 * input ends.
 *
 * usage: kafka_mock [-<brokers>] <topic>...  (each gets 16 partitions; the mock
 * cannot be asked to create topics)
 *   errors <n> <code>   the next n requests to produce are answered with code
 *   down <broker>, up <broker>, lead <broker>: it leads every partition
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define KAFKA_MOCK_PRODUCE     0        /* the protocol's number of it */
#define KAFKA_MOCK_PARTITIONS  16

static void
kafka_mock_obey(rd_kafka_mock_cluster_t *cluster, char **topics, int n, const char *line)
{
    int   i, k, a, b;
    char  what[16];

    a = b = 0;
    if (sscanf(line, "%15s %d %d", what, &a, &b) < 2) {
        fprintf(stderr, "kafka_mock: what is %s", line);

    } else if (strcmp(what, "errors") == 0) {
        for (i = 0; i < a; i++) {
            rd_kafka_mock_push_request_errors(cluster, KAFKA_MOCK_PRODUCE, 1, b);
        }

    } else if (strcmp(what, "down") == 0) {
        (void) rd_kafka_mock_broker_set_down(cluster, a);

    } else if (strcmp(what, "up") == 0) {
        (void) rd_kafka_mock_broker_set_up(cluster, a);

    } else if (strcmp(what, "lead") == 0) {
        for (i = 0; i < n; i++) {
            for (k = 0; k < KAFKA_MOCK_PARTITIONS; k++) {
                (void) rd_kafka_mock_partition_set_leader(cluster, topics[i], k, a);
            }
        }
    }
}

int
main(int argc, char **argv)
{
    int                       i, brokers;
    char                      buf[256], err[512];
    rd_kafka_t               *rk;
    rd_kafka_mock_cluster_t  *cluster;

    brokers = 1;
    if (argc > 1 && argv[1][0] == '-') {
        brokers = atoi(argv[1] + 1);
        argv++;
        argc--;
    }

    rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), err, sizeof(err));
    if (rk == NULL) {
        fprintf(stderr, "kafka_mock: %s\n", err);
        return 1;
    }

    cluster = rd_kafka_mock_cluster_new(rk, brokers);
    if (cluster == NULL) {
        fprintf(stderr, "kafka_mock: no cluster\n");
        rd_kafka_destroy(rk);
        return 1;
    }

    for (i = 1; i < argc; i++) {
        if (rd_kafka_mock_topic_create(cluster, argv[i], KAFKA_MOCK_PARTITIONS, brokers)) {
            fprintf(stderr, "kafka_mock: cannot create %s\n", argv[i]);
        }
    }

    printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    fflush(stdout);

    while (fgets(buf, sizeof(buf), stdin)) {
        kafka_mock_obey(cluster, argv + 1, argc - 1, buf);
    }

    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(rk);

    return 0;
}
