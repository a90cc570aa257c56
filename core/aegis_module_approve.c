/*
 * aegis_module_approve.c: people's voices: approve and deny. Its invariants: who
 * decides names the plan by its hash; what waits is decided once; a last voice
 * approves only what the policy of now does not refuse.
 */
#include "aegis_gate.h"

#include <stdio.h>
#include <string.h>

#include "aegis_approval.h"
#include "aegis_json.h"

/* One voice on its way to a document. */
typedef struct {
    const json_t              *facts;
    const json_t              *asked;
    const json_t              *body;
    const aegis_module_ctx_t  *ctx;
    int64_t                    now;
    json_t                    *vote;        /* owned */
    json_t                    *votes;       /* owned: all, with this one */
} aegis_voice_t;


/* Is there something to decide on, and is it this? */
static aegis_code_t
aegis_voice_fits(const aegis_voice_t *voice, aegis_error_t *err)
{
    const char  *state, *hash;

    state = aegis_json_str(voice->asked, "state");

    if (!json_is_object(voice->asked)) {
        return aegis_error_set(err, AEGIS_E_NOT_WAITING,
                               "The plan was not given to people to decide on.");
    }

    if (strcmp(state, "OPEN") != 0) {
        return aegis_error_set(err, AEGIS_E_NOT_WAITING, "It is decided: %s.",
            aegis_json_str(json_object_get(voice->asked, "decision"), "reason"));
    }

    if (aegis_gate_over(voice->asked, voice->now)) {
        return aegis_error_set(err, AEGIS_E_NOT_WAITING,
                               "The time to decide ended at %s; silence approves nothing.",
                               aegis_json_str(voice->asked, "expires_at"));
    }

    hash = aegis_json_str(voice->asked, "plan_hash");

    if (strcmp(aegis_json_str(voice->body, "plan_hash"), hash) != 0) {
        return aegis_error_set(err, AEGIS_E_PLAN_CHANGED,
                               "The plan that waits has the hash %s.", hash);
    }

    return AEGIS_E_OK;
}


/* May this principal say this? On AEGIS_E_OK the vote is made. */
static aegis_code_t
aegis_voice_may(aegis_voice_t *voice, const char *verdict, aegis_error_t *err)
{
    int          own;
    json_t      *needs, *proposers, *counts;
    const char  *why, *who;

    who = voice->ctx->actor ? voice->ctx->actor : "";
    needs = json_object_get(voice->asked, "needs");
    proposers = json_object_get(voice->asked, "proposers");
    counts = aegis_approval_counts(needs, proposers, who, voice->ctx->scopes, &why);

    /* whoever proposed a plan may take it back */
    own = strcmp(verdict, "deny") == 0 && aegis_approval_among(proposers, who);

    if (json_array_size(counts) == 0 && !own) {
        json_decref(counts);
        return aegis_error_set(err, AEGIS_E_NOT_APPROVER, "%s", why);
    }

    voice->vote = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s}",
        "request_id", aegis_json_str(voice->asked, "request_id"), "principal", who,
        "verdict", verdict, "counts", counts,
        "comment", aegis_json_str(voice->body, "comment"),
        "at", aegis_json_str(voice->facts, "now"));
    voice->votes = json_copy(json_object_get(voice->asked, "votes"));
    json_array_append(voice->votes, voice->vote);

    return AEGIS_E_OK;
}


/* "approved: looks right", for the timeline and the decision. */
static void
aegis_voice_reason(const aegis_voice_t *voice, const char *said, char out[256])
{
    const char  *comment;

    comment = aegis_json_str(voice->body, "comment");
    snprintf(out, 256, "%s%s%.160s", said, comment[0] ? ": " : "", comment);
    out[aegis_utf8_cut(out, strlen(out), 255)] = '\0';
}


static json_t *
aegis_voice_note(const aegis_voice_t *voice, const char *event, const char *reason)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s}}", "event", event, "reason", reason,
        "meta", "decision_id", aegis_json_str(voice->asked, "request_id"),
        "plan_hash", aegis_json_str(voice->asked, "plan_hash"));
}


static json_t *
aegis_voice_approval(const aegis_voice_t *voice, const char *close)
{
    json_t  *approval;

    approval = json_pack("{s:O, s:o}", "vote", voice->vote, "seen",
                         aegis_gate_seen(voice->asked, 1));

    if (close) {
        json_object_set_new(approval, "close", json_pack("{s:s, s:s}", "state", close,
                            "decision_id", voice->ctx->id));
    }

    return approval;
}


/* The last voice: the document of the decision, with who was for it. */
static aegis_code_t
aegis_voice_decided(const aegis_voice_t *voice, aegis_gate_outcome_t *o, json_t **ret_doc,
    aegis_error_t *err)
{
    aegis_code_t  code;

    code = aegis_gate_decided(voice->facts, voice->now, o, voice->ctx, ret_doc, err);

    if (code == AEGIS_E_OK) {
        json_object_set(json_object_get(*ret_doc, "body"), "votes", voice->votes);
        json_object_set(json_object_get(*ret_doc, "data"), "votes", voice->votes);
    }

    return code;
}


static aegis_code_t
aegis_voice_approve(aegis_voice_t *voice, json_t **ret_doc, aegis_error_t *err)
{
    char                    said[256], reason[256], who[200];
    json_t                 *asked;
    aegis_code_t            code;
    aegis_gate_outcome_t    o;
    aegis_policy_result_t   v;

    aegis_voice_reason(voice, "approved", said);

    if (!aegis_approval_met(json_object_get(voice->asked, "needs"), voice->votes)) {
        asked = json_copy((json_t *) voice->asked);
        json_object_set(asked, "votes", voice->votes);
        code = aegis_gate_waits(voice->facts, asked, aegis_voice_approval(voice, NULL),
                                aegis_voice_note(voice, "approval_given", said),
                                voice->ctx, ret_doc, err);
        json_decref(asked);
        return code;
    }

    code = aegis_gate_judge(voice->facts, voice->now, 1, &v, err);
    if (code != AEGIS_E_OK) {
        return code;
    }

    memset(&o, 0, sizeof(o));
    aegis_approval_who(voice->votes, who, sizeof(who));

    if (v.verdict == AEGIS_GATE_APPROVED) {
        snprintf(reason, sizeof(reason), "approved by %s", who);
        o.rule = aegis_json_str(voice->asked, "rule");
        o.reason = reason;
        o.approval = aegis_voice_approval(voice, "APPROVED");

    } else {
        o.rule = v.rule;
        o.reason = v.reason;
        o.approval = aegis_voice_approval(voice, "REFUSED");
    }

    o.verdict = aegis_gate_verdict(v.verdict);
    o.source = "people";
    o.v = &v;
    o.note = aegis_voice_note(voice, "approval_given", said);

    code = aegis_voice_decided(voice, &o, ret_doc, err);
    aegis_policy_result_clear(&v);

    return code;
}


static aegis_code_t
aegis_voice_deny(aegis_voice_t *voice, json_t **ret_doc, aegis_error_t *err)
{
    char                   said[256], by[224];
    aegis_gate_outcome_t   o;

    snprintf(by, sizeof(by), "denied by %.200s", voice->ctx->actor);
    aegis_voice_reason(voice, by, said);

    memset(&o, 0, sizeof(o));
    o.verdict = aegis_gate_verdict(AEGIS_GATE_REJECTED);
    o.rule = aegis_json_str(voice->asked, "rule");
    o.reason = said;
    o.source = "people";
    o.approval = aegis_voice_approval(voice, "DENIED");
    o.note = aegis_voice_note(voice, "approval_denied", said);

    return aegis_voice_decided(voice, &o, ret_doc, err);
}


/* Has this principal approved already? */
static int
aegis_voice_said(const aegis_voice_t *voice)
{
    size_t   i;
    json_t  *votes, *vote;

    votes = json_object_get(voice->asked, "votes");

    for (i = 0; i < json_array_size(votes); i++) {
        vote = json_array_get(votes, i);

        if (strcmp(aegis_json_str(vote, "principal"),
                   voice->ctx->actor ? voice->ctx->actor : "") == 0
            && strcmp(aegis_json_str(vote, "verdict"), "approve") == 0)
        {
            return 1;
        }
    }

    return 0;
}


static aegis_code_t
aegis_voice(const json_t *facts, const json_t *body, const aegis_module_ctx_t *ctx,
    const char *verdict, json_t **ret_doc, aegis_error_t *err)
{
    int             approves;
    aegis_code_t    code;
    aegis_voice_t   voice;

    memset(&voice, 0, sizeof(voice));
    voice.facts = facts;
    voice.asked = json_object_get(json_object_get(facts, "gate"), "request");
    voice.body = body;
    voice.ctx = ctx;
    approves = strcmp(verdict, "approve") == 0;

    code = aegis_gate_now(facts, &voice.now, err);

    if (code == AEGIS_E_OK) {
        code = aegis_voice_fits(&voice, err);
    }

    if (code == AEGIS_E_OK) {
        code = aegis_voice_may(&voice, verdict, err);
    }

    if (code == AEGIS_E_OK) {
        if (approves && aegis_voice_said(&voice)) {
            code = aegis_gate_waits(facts, voice.asked, NULL, NULL, ctx, ret_doc, err);

        } else if (approves) {
            code = aegis_voice_approve(&voice, ret_doc, err);

        } else {
            code = aegis_voice_deny(&voice, ret_doc, err);
        }
    }

    json_decref(voice.vote);
    json_decref(voice.votes);

    return code;
}


aegis_code_t
aegis_module_approve(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    return aegis_voice(facts, request, ctx, "approve", ret_doc, err);
}


aegis_code_t
aegis_module_deny(const json_t *facts, const json_t *request,
    const aegis_module_ctx_t *ctx, json_t **ret_doc, aegis_error_t *err)
{
    return aegis_voice(facts, request, ctx, "deny", ret_doc, err);
}
