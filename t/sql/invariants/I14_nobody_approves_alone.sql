-- I14: what people approved has, for each rule that asked, as many different principals
-- as it asked for, none of them a proposer under four eyes, and no denial; and what
-- expired, was denied or refused has no approval.
SELECT q.tenant, q.case_id, q.request_id, q.state, n.need ->> 'rule' AS rule
  FROM aegis.gate_request q
 CROSS JOIN LATERAL json_array_elements(q.needs) AS n(need)
 WHERE q.state = 'APPROVED' AND (
       (n.need ->> 'need')::int > (SELECT count(DISTINCT v.principal) FROM aegis.gate_vote v
            WHERE v.tenant = q.tenant AND v.case_id = q.case_id AND v.request_id = q.request_id
              AND v.verdict = 'approve' AND v.counts::jsonb @> to_jsonb(n.need ->> 'rule')
              AND NOT ((n.need ->> 'four_eyes')::boolean AND q.proposers::jsonb @> to_jsonb(v.principal)))
    OR EXISTS (SELECT FROM aegis.gate_vote v WHERE v.tenant = q.tenant AND v.case_id = q.case_id
              AND v.request_id = q.request_id AND v.verdict = 'deny'))
UNION ALL
SELECT q.tenant, q.case_id, q.request_id, q.state, q.rule
  FROM aegis.gate_request q
  JOIN aegis.plan_approved a ON a.tenant = q.tenant AND a.case_id = q.case_id
   AND a.decision_id IN (q.decision_id, q.request_id)
 WHERE q.state <> 'APPROVED'
