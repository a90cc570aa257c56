/*
 * kafka_mock.c: librdkafka's mock Kafka cluster as a process of its own, for
 * machines where no real broker can be had. It prints its bootstrap servers on
 * one line and runs until its standard input ends.
 *
 * usage: kafka_mock <topic>...  (each gets 16 partitions; the mock cannot be
 * asked to create topics)
 */
#include <stdio.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>


int
main(int argc, char **argv)
{
    int                       i;
    char                      buf[256], err[512];
    rd_kafka_t               *rk;
    rd_kafka_mock_cluster_t  *cluster;

    rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), err, sizeof(err));
    if (rk == NULL) {
        fprintf(stderr, "kafka_mock: %s\n", err);
        return 1;
    }

    cluster = rd_kafka_mock_cluster_new(rk, 1);
    if (cluster == NULL) {
        fprintf(stderr, "kafka_mock: no cluster\n");
        rd_kafka_destroy(rk);
        return 1;
    }

    for (i = 1; i < argc; i++) {
        if (rd_kafka_mock_topic_create(cluster, argv[i], 16, 1)) {
            fprintf(stderr, "kafka_mock: cannot create %s\n", argv[i]);
        }
    }

    printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    fflush(stdout);

    while (read(STDIN_FILENO, buf, sizeof(buf)) > 0) {
        /* until whoever started us is gone */
    }

    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(rk);

    return 0;
}
