/*
 * aegis_detect_log.c: a pattern of log lines that was never seen before. How
 * unusual that is depends on how often a resource shows new ones, and on what
 * the line says of itself.
 * Invariant: a resource whose logs are young, or that shows new patterns all day,
 * is not reported for one more. Bursts are the counts as a series (aegis_detect.c).
 */
#include "aegis_detect.h"

#include <math.h>
#include <string.h>

#define AEGIS_LOG_BUCKETS  288.0        /* of five minutes, a day */
#define AEGIS_LOG_LARGE    20.0         /* patterns of which one more is one more */


double
aegis_detect_first_sight(double since, double now, double known, double recent,
    const char *level)
{
    size_t  i;
    double  score, rate;

    static const struct {
        const char  *level;
        double       weight;
    } levels[] = {
        { "fatal", 5 }, { "critical", 5 }, { "error", 3.5 }, { "warn", 1.5 },
        { "warning", 1.5 }
    };

    if (!(now - since >= AEGIS_DETECT_LOG_LEARN_S) || !(known >= 0) || !(recent >= 0)) {
        return 0;
    }

    /* a new one in these five minutes, by the new ones of the day before */
    rate = (recent + 0.5) / AEGIS_LOG_BUCKETS;
    rate = rate > 1 ? 1 : rate;
    score = -log10(rate);
    score -= known < AEGIS_LOG_LARGE ? 0 : fmin(0.5 * log10(known / AEGIS_LOG_LARGE), 1);

    for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(level, levels[i].level) == 0) {
            score += levels[i].weight;
        }
    }

    return score < 0 ? 0 : score > AEGIS_DETECT_MAX ? AEGIS_DETECT_MAX : score;
}
