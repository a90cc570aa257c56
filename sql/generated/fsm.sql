-- Generated from core/tables by `make tables`; do not edit.
-- The rows that SQL decides with, the same that the core was compiled with.
DO $aegis$
BEGIN
    DELETE FROM aegis.fsm_state;
    INSERT INTO aegis.fsm_state (name, terminal, command, sentence) VALUES
        ('NEW', false, '', 'created, nothing has looked at it yet'),
        ('ANALYZING', false, 'cmd.analyze.run', 'the analyst is collecting evidence'),
        ('PLANNING', false, 'cmd.plan.generate', 'the planner is writing a plan'),
        ('WAIT_GATE', false, 'cmd.gate.eval', 'a complete plan waits for the gatekeeper''s decision'),
        ('EXECUTING', false, 'cmd.exec.run', 'the executor is running the approved plan'),
        ('VERIFYING', false, 'cmd.verify.run', 'the verifier is checking that the repair holds'),
        ('PARKED', false, '', 'stopped with a reason, waits to be resumed'),
        ('CLOSED', true, '', 'done and verified');

    DELETE FROM aegis.fsm_transition;
    INSERT INTO aegis.fsm_transition (rule, from_status, event, guard, needs, to_status, command, sentence) VALUES
        (110, 'NEW', 'start_analysis', 'always', 0, 'ANALYZING', 'cmd.analyze.run', 'analysis starts'),
        (190, 'NEW', 'force_park', 'always', 0, 'PARKED', '', 'parked before analysis'),
        (210, 'ANALYZING', 'analysis_done', 'always', 0, 'PLANNING', 'cmd.plan.generate', 'findings are stored, planning starts'),
        (220, 'ANALYZING', 'analysis_failed', 'always', 0, 'PARKED', '', 'analysis failed'),
        (230, 'ANALYZING', 'plan_ready', 'complete_plan', 1, 'WAIT_GATE', 'cmd.gate.eval', 'a complete plan was given by hand'),
        (290, 'ANALYZING', 'force_park', 'always', 0, 'PARKED', '', 'parked during analysis'),
        (310, 'PLANNING', 'plan_ready', 'complete_plan', 1, 'WAIT_GATE', 'cmd.gate.eval', 'the plan is complete and waits for the gate'),
        (320, 'PLANNING', 'plan_failed', 'always', 0, 'PARKED', '', 'no plan could be made'),
        (390, 'PLANNING', 'force_park', 'always', 0, 'PARKED', '', 'parked during planning'),
        (410, 'WAIT_GATE', 'gate_approved', 'approved_plan', 6, 'EXECUTING', 'cmd.exec.run', 'the plan is approved and its window is open'),
        (420, 'WAIT_GATE', 'gate_rejected', 'always', 0, 'PARKED', '', 'the gatekeeper refused the plan'),
        (490, 'WAIT_GATE', 'force_park', 'always', 0, 'PARKED', '', 'parked at the gate'),
        (510, 'EXECUTING', 'exec_done', 'always', 0, 'VERIFYING', 'cmd.verify.run', 'every step succeeded, verification starts'),
        (520, 'EXECUTING', 'exec_failed', 'always', 0, 'PARKED', '', 'execution failed'),
        (590, 'EXECUTING', 'force_park', 'always', 0, 'PARKED', '', 'parked during execution'),
        (610, 'VERIFYING', 'verify_pass', 'passed_checkpoint', 8, 'CLOSED', '', 'the repair is verified, the case is closed'),
        (620, 'VERIFYING', 'verify_failed', 'always', 0, 'PARKED', '', 'verification failed'),
        (690, 'VERIFYING', 'force_park', 'always', 0, 'PARKED', '', 'parked during verification'),
        (710, 'PARKED', 'start_analysis', 'always', 0, 'ANALYZING', 'cmd.analyze.run', 'analysed again'),
        (720, 'PARKED', 'resume', 'always', 0, 'PLANNING', 'cmd.plan.generate', 'resumed, a new plan revision is made'),
        (730, 'PARKED', 'plan_ready', 'complete_plan', 1, 'WAIT_GATE', 'cmd.gate.eval', 'a complete plan was given by hand');

    DELETE FROM aegis.fsm_fact;
    INSERT INTO aegis.fsm_fact (bit, name, sentence) VALUES
        (0, 'plan_complete', 'a plan with at least one step, a rollback and a verify part'),
        (1, 'gate_approved', 'an approving gate decision for the current plan'),
        (2, 'window_open', 'the change window of the approval to be open now'),
        (3, 'checkpoint_passed', 'a passing verification checkpoint of this execution');

    DELETE FROM aegis.error_def;
    INSERT INTO aegis.error_def (code, status, title, remedy) VALUES
        ('ok', 200, 'OK', ''),
        ('bad-request', 400, 'The request cannot be read', 'Correct the request line, headers or query and send it again.'),
        ('malformed-json', 400, 'The body is not valid JSON', 'Send one JSON object in UTF-8 without duplicate keys, nested at most 32 deep.'),
        ('malformed-yaml', 400, 'The body is not valid YAML', 'Send one YAML document in UTF-8 without anchors, aliases, tags or duplicate keys, nested at most 32 deep.'),
        ('idempotency-key-missing', 400, 'Idempotency-Key is required', 'Send an Idempotency-Key header of 1 to 255 characters, and the same one on a retry.'),
        ('idempotency-key-invalid', 400, 'Idempotency-Key is not valid', 'Send exactly one Idempotency-Key: a quoted string, or letters, digits and . _ : - only.'),
        ('if-match-invalid', 400, 'A conditional header is not valid', 'Send * or a list of quoted entity tags.'),
        ('cursor-invalid', 400, 'The cursor is not valid', 'Use the next cursor of the previous page unchanged, with the same filters.'),
        ('unauthorized', 401, 'Authentication is required', 'Send Authorization: Bearer with a valid key.'),
        ('forbidden', 403, 'The credential does not allow this', 'Use a credential for this tenant and scope.'),
        ('actor-mismatch', 403, 'The actor is not who authenticated', 'Leave actor out, or send the principal of the credential.'),
        ('not-found', 404, 'No such resource', 'Check the id; a resource of another tenant is not found either.'),
        ('method-not-allowed', 405, 'The method is not allowed here', 'Use one of the methods in the Allow header.'),
        ('not-acceptable', 406, 'The representation is not available', 'Accept application/json and application/problem+json.'),
        ('request-timeout', 408, 'The request took too long to arrive', 'Send the request again.'),
        ('too-large', 413, 'The body is too large', 'Send a smaller body.'),
        ('uri-too-long', 414, 'The request target is too long', 'Send a shorter URL.'),
        ('unsupported-media-type', 415, 'The media type is not supported', 'Send application/json without a content encoding.'),
        ('misdirected', 421, 'The request is for another server', 'Open a connection to the host that the request is for.'),
        ('precondition-required', 428, 'The request must be conditional', 'Send If-Match with the ETag of the case that you decided on.'),
        ('headers-too-large', 431, 'The header fields are too large', 'Send fewer or shorter headers.'),
        ('not-implemented', 501, 'A part of the request is not implemented', 'Use a method that the resource allows, and no transfer coding but chunked.'),
        ('http-version-not-supported', 505, 'This version of HTTP is not supported', 'Use HTTP/1.1 or HTTP/2.'),
        ('idempotency-key-in-flight', 409, 'A request with this key is still running', 'Wait as Retry-After says and send the same request again.'),
        ('idempotency-key-reused', 422, 'The key was used for another request', 'Use a new Idempotency-Key for a new request.'),
        ('version-mismatch', 412, 'A condition of the request does not hold', 'Read the case again and decide on its current version.'),
        ('version-conflict', 409, 'expected_version is not the current version', 'Read the case again and decide on its current version.'),
        ('illegal-transition', 409, 'The event is not legal in this state', 'Send one of allowed_events.'),
        ('wrong-state', 409, 'The case is not in a state for this', 'Bring the case into one of allowed_states first.'),
        ('not-an-approver', 403, 'You may not decide on this plan', 'Let somebody decide whom the policy names and who did not propose the plan.'),
        ('not-waiting', 409, 'The plan does not wait for approval', 'Read what the gate decided; a plan that may still be wanted goes to the gate again.'),
        ('plan-changed', 409, 'Another plan than the one that was named waits', 'Read the plan that waits now, and decide on its hash.'),
        ('already-exists', 409, 'It exists already', 'Use the one that is named.'),
        ('guard-failed', 422, 'The transition''s guard does not hold', 'Provide what is listed in missing.'),
        ('schema-violation', 422, 'The body does not fit the schema', 'Correct what the JSON pointers in errors name.'),
        ('stale-fact', 409, 'The case has moved on', 'Nothing to do: the fact is recorded on the timeline.'),
        ('busy', 503, 'The case is locked by another request', 'Send the same request with the same key again as Retry-After says.'),
        ('rate-limited', 429, 'Too many requests', 'Slow down as Retry-After says.'),
        ('internal', 500, 'Something went wrong on our side', 'Send the same request with the same key again; report the instance if it stays.'),
        ('bad-gateway', 502, 'The upstream answered badly', 'Send the same request again.'),
        ('unavailable', 503, 'The service is not available now', 'Send the same request with the same key again as Retry-After says.'),
        ('overloaded', 503, 'The queue is full', 'Send the same request with the same key again as Retry-After says.'),
        ('outcome-unknown', 503, 'The connection was lost while the request ran', 'Send the same request with the same key again: it takes effect at most once.'),
        ('deadline-exceeded', 504, 'The request waited too long', 'Send the same request with the same key again as Retry-After says.'),
        ('bad-envelope', 400, 'The message is not a CloudEvents 1.0 envelope', 'Correct the producer, then aegisctl dlq retry or drop.'),
        ('unknown-subject', 400, 'Nobody handles this subject or version', 'Upgrade the consumer or correct the producer.');

    DELETE FROM aegis.subject_def;
    INSERT INTO aegis.subject_def (subject, stream, on_true, on_false) VALUES
        ('cmd.analyze.run', 'AEGIS_CMD', '', ''),
        ('cmd.plan.generate', 'AEGIS_CMD', '', ''),
        ('cmd.gate.eval', 'AEGIS_CMD', '', ''),
        ('cmd.exec.run', 'AEGIS_CMD', '', ''),
        ('cmd.verify.run', 'AEGIS_CMD', '', ''),
        ('evt.case.created.v1', 'AEGIS_FACT', 'start_analysis', ''),
        ('evt.analysis.findings.v1', 'AEGIS_FACT', 'analysis_done', ''),
        ('evt.analysis.failed.v1', 'AEGIS_FACT', 'analysis_failed', ''),
        ('evt.plan.proposed.v1', 'AEGIS_FACT', 'plan_ready', ''),
        ('evt.plan.failed.v1', 'AEGIS_FACT', 'plan_failed', ''),
        ('evt.plan.approved.v1', 'AEGIS_FACT', 'gate_approved', 'gate_rejected'),
        ('evt.plan.waiting.v1', 'AEGIS_FACT', '', ''),
        ('evt.exec.step_result.v1', 'AEGIS_FACT', '', ''),
        ('evt.exec.done.v1', 'AEGIS_FACT', 'exec_done', ''),
        ('evt.exec.failed.v1', 'AEGIS_FACT', 'exec_failed', ''),
        ('evt.verify.pass.v1', 'AEGIS_FACT', 'verify_pass', ''),
        ('evt.verify.failed.v1', 'AEGIS_FACT', 'verify_failed', ''),
        ('evt.case.transition.v1', 'AEGIS_CASE', '', '');
END
$aegis$;
