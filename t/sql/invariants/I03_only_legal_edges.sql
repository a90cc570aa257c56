-- I3: every transition is a row of the table, and its rule is that row.
SELECT t.tenant, t.case_id, t.version, t.from_status, t.event, t.to_status, t.rule
  FROM aegis.case_timeline t
  LEFT JOIN aegis.fsm_transition f ON f.from_status = t.from_status
       AND f.event = t.event AND f.to_status = t.to_status AND f.rule = t.rule
 WHERE t.kind = 'transition' AND f.rule IS NULL
