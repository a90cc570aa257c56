/*
 * aegis_ctl_case.h: what the files of `aegisctl case` and `fsm explain` share.
 */
#ifndef AEGIS_CTL_CASE_H
#define AEGIS_CTL_CASE_H

#include "aegis_ctl.h"

/* Send and judge; on AEGIS_CTL_OK the answer is a 2xx with a JSON body. */
int aegis_ctl_case_send(aegis_ctl_t *ctl, const aegis_ctl_request_t *req,
    aegis_ctl_answer_t *ret);

/* Pages from path (with its query begun) until max items; next is the cursor of
 * what is left, "" when that is nothing. */
int aegis_ctl_case_pages(aegis_ctl_t *ctl, const char *path, int64_t max, json_t *items,
    char *next, size_t size);

/* aegis_ctl_watch.c */
int aegis_ctl_case_watch(aegis_ctl_t *ctl);

#endif
