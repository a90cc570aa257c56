-- kb.sql: the rows of t/tools/kb_text.c, which are in aegis.t_kb, as documents of the
-- tenant default: what aegis.kb_store() would make of them, for all at once.
INSERT INTO aegis.kb_doc (tenant, doc_id, source, title, category, lang, format, tags, ready_version, chunks, state, created_by)
SELECT 'default', gen_random_uuid(), 'synthetic/' || doc, min(heading), 'synthetic', 'xx', 'markdown',
       jsonb_build_array('shard' || doc % 50), 1, count(*), 'READY', 'bench'
  FROM aegis.t_kb GROUP BY doc;
INSERT INTO aegis.kb_chunk (tenant, doc_id, version, chunk_no, b_from, b_to, heading, body, heads, tsv)
SELECT 'default', d.doc_id, 1, t.n, 0, 1, t.heading, t.body,
       array_to_tsvector(array_remove(string_to_array(t.heads, ' '), '')),
       array_to_tsvector(array_remove(string_to_array(t.terms, ' '), '') || aegis.kb_facets(d))
  FROM aegis.t_kb t JOIN aegis.kb_doc d ON d.tenant = 'default' AND d.source = 'synthetic/' || t.doc
 ORDER BY t.doc, t.n;
INSERT INTO aegis.kb_vector (embedder_id, chunk_id, tenant, signs, v)
SELECT e.embedder_id, c.chunk_id, 'default', t.signs::bit varying, t.v::real[]
  FROM aegis.t_kb t JOIN aegis.kb_doc d ON d.tenant = 'default' AND d.source = 'synthetic/' || t.doc
  JOIN aegis.kb_chunk c ON c.doc_id = d.doc_id AND c.chunk_no = t.n
  JOIN aegis.kb_embedder e ON e.state = 'ACTIVE';
INSERT INTO aegis.kb_term AS o (tenant, term, n)
SELECT 'default', l.term, count(*) FROM aegis.t_kb t, unnest(array_remove(string_to_array(t.terms, ' '), '')) l(term)
 GROUP BY l.term ON CONFLICT (term, tenant) DO UPDATE SET n = o.n + excluded.n;
INSERT INTO aegis.kb_tenant AS o (tenant, chunks, lexemes)
SELECT 'default', count(*), sum(length(c.tsv)) FROM aegis.kb_chunk c JOIN aegis.kb_doc d USING (doc_id) WHERE d.category = 'synthetic'
    ON CONFLICT (tenant) DO UPDATE SET chunks = o.chunks + excluded.chunks, lexemes = o.lexemes + excluded.lexemes;
DROP TABLE aegis.t_kb;
