# faults_oracle.pl: can the campaign of faults fail at all? The product is broken on
# purpose, one way after the other: in a copy of the sources that is built, or by
# another function in the database. Each break has to be caught by the fault that is
# there for it, and the same faults find nothing in the product as it is.
# `make faults-oracle` writes run/faults-oracle.json; F= is a part of a break's name.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;
use File::Path qw(make_path);
use Aegis::Faults;
use Aegis::Faults::Database;
use Aegis::Faults::Gateway;
use Aegis::Faults::Workers;

my $built = build_dir;

# What an SQL break needs to know of its installation: a string of dblink.
sub superuser_dsn ($f) { my $pg = $f->pg; return "host=$pg->{host} port=$pg->{port} dbname=aegis user=$pg->{superuser} password=$pg->{password}" }

# name, the fault that sees it and how often it is done, edits of files or SQL
my @breaks = (
    { name => 'ack before commit', fault => 'oracle-lost', n => 2, edit => { 'workers/lib/aegis_bus_nats.c' => [
        "        nats->credit--;\n        aegis_nats_message(",
        "        nats->credit--;\n        (void) natsConnection_PublishString(nats->nc, natsMsg_GetReply(m), \"+ACK\");\n"
        . "        (void) natsConnection_Flush(nats->nc);\n        aegis_nats_message("] } },
    { name => 'marked before it is published', fault => 'oracle-marked', n => 2, edit => { 'workers/roles/relay/aegis_relay.c' => [
        "    if (rc == AEGIS_E_OK && r->n) {\n        rc = aegis_relay_publish(w, err);",
        "    if (rc == AEGIS_E_OK && r->n) {\n        for (int i = 0; i < r->n; i++) { r->rows[i].out.published = 1; }\n"
        . "        (void) aegis_relay_mark(w, &marked, err);\n        (void) AEGIS_FP(relay_after_mark, \"relay\");\n        rc = aegis_relay_publish(w, err);"] } },
    { name => 'published before commit', fault => 'F6-backends', n => 60, sql => sub ($f) { return q{
        CREATE EXTENSION dblink SCHEMA public;
        CREATE FUNCTION aegis.t_early() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF current_setting('application_name') = 't-early' THEN RETURN NEW; END IF;
            PERFORM public.dblink_exec('} . superuser_dsn($f) . q{ application_name=t-early',
                format('INSERT INTO aegis.outbox OVERRIDING SYSTEM VALUE SELECT (json_populate_record(NULL::aegis.outbox, %L)).*', row_to_json(NEW)));
            RETURN NULL;
        END $$;
        CREATE TRIGGER t_early BEFORE INSERT ON aegis.outbox FOR EACH ROW EXECUTE FUNCTION aegis.t_early()} } },
    { name => 'nginx may turn an answer into 412 (no disable_not_modified)', fault => 'F24', n => 6, edit => { 'ngx_aegis_module/ngx_http_aegis_reply.c' => [
        "r->disable_not_modified = 1;", "r->disable_not_modified = 0;"] } },
    { name => 'a key is claimed by nobody (no unique index)', fault => 'F22', n => 100, sql => q{
        CREATE OR REPLACE FUNCTION aegis.lock_keys(p_tenant text[], p_principal text[], p_key text[], p_consumer text[])
        RETURNS boolean[] LANGUAGE sql AS $$ SELECT array_fill(true, ARRAY[cardinality(p_key)]) $$;
        ALTER TABLE aegis.idempotency DROP CONSTRAINT idempotency_pkey; CREATE INDEX ON aegis.idempotency (key, tenant, principal)} },
    { name => 'If-Match is looked at after the update', fault => 'F24', n => 6, sql => q{
        ALTER FUNCTION aegis.case_transition RENAME TO case_transition_real;
        CREATE FUNCTION aegis.case_transition(
            p_tenant text[], p_principal text[], p_key text[], p_hash bytea[], p_consumer text[],
            p_case_id uuid[], p_event text[], p_actor text[], p_reason text[],
            p_correlation_id text[], p_traceparent text[], p_request_id text[], p_meta text[],
            p_expected_version int[], p_if_match text[], p_fact_version int[], p_notify boolean)
        RETURNS SETOF aegis.result LANGUAGE plpgsql AS $f$
        DECLARE r aegis.result;
        BEGIN
            FOR r IN SELECT * FROM aegis.case_transition_real(p_tenant, p_principal, p_key, p_hash, p_consumer, p_case_id, p_event, p_actor,
                p_reason, p_correlation_id, p_traceparent, p_request_id, p_meta, p_expected_version,
                array_fill(NULL::text, ARRAY[cardinality(p_if_match)]), p_fact_version, p_notify)
            LOOP
                IF r.status = 200 AND p_if_match[r.ord] IS NOT NULL AND NOT aegis.if_match_holds(p_if_match[r.ord], r.version - 1) THEN
                    r.status := 412; r.code := 'version-mismatch';
                END IF;
                RETURN NEXT r;
            END LOOP;
        END $f$;
        GRANT EXECUTE ON FUNCTION aegis.case_transition, aegis.case_transition_real TO aegis_gateway, aegis_worker} },
    { name => 'a message is not looked up in the inbox', fault => 'F16', n => 300, sql => q{
        CREATE OR REPLACE FUNCTION aegis.t_forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.msg_id := NEW.msg_id || random(); RETURN NEW; END $$;
        CREATE TRIGGER t_forget BEFORE INSERT ON aegis.inbox FOR EACH ROW EXECUTE FUNCTION aegis.t_forget()} },
);

# What the bus hands out is gone when its reader dies: nobody sends it again here.
sub no_reconciler ($f) {
    push @{ $f->{undo} }, $f->stack->conf_edit('aegis.yaml', sub ($c) { "${c}reconcile:\n  after_s: 3600\n" }, 'relay');
}
Aegis::Faults::fault('oracle-lost', 'a worker dies with a batch in its hands, and no reconciler', {}, sub ($f, $n) {
    no_reconciler($f);
    for (1 .. $n) {
        my $fired = $f->fp->fired('consumer.after_recv');
        $f->fp->arm('consumer.after_recv', 'kill', who => 'planner');
        Aegis::Faults::Workers::auto($f, 2);
        $f->comes('the planner to die', 20, sub { $f->fp->fired('consumer.after_recv') > $fired });
        $f->stack->wait_worker('planner');
    }
});
Aegis::Faults::fault('oracle-marked', 'the relay dies when rows are marked, and no reconciler', {}, sub ($f, $n) {
    no_reconciler($f);
    for (1 .. $n) {
        my $fired = $f->fp->fired('relay.after_mark');
        $f->fp->arm('relay.after_mark', 'kill', nth => 3);
        Aegis::Faults::Workers::auto($f, 2);
        $f->comes('the relay to die', 20, sub { $f->fp->fired('relay.after_mark') > $fired });
        $f->stack->wait_worker('relay');
    }
});

# A copy of the sources and of what is built, with edits, built. Its build folder.
sub copy_with ($edit) {
    state $n = 0;
    my $dir = scratch('broken-' . ++$n);
    my $root = root;
    run_ok(['sh', '-c', "cd '$root' && tar --exclude=./.git --exclude=./run --exclude=./build/asan --exclude=./build/fuzz -cf - . | tar -xf - -C '$dir'"], timeout => 120);
    for my $file (sort keys %$edit) {
        my ($was, $is) = @{ $edit->{$file} };
        my $text = slurp("$dir/$file");
        my $at = index $text, $was;
        die "$file has no such place any more\n" if $at < 0;
        substr $text, $at, length $was, $is;
        spew("$dir/$file", $text);
    }
    run_ok(['make', '-C', $dir, 'B=' . ($built =~ s{^\Q$root\E/}{}r), 'all', 'tools', 'faults-built'], timeout => 600, env => { B => undef, MAKEFLAGS => undef });
    return $dir . ($built =~ s{^\Q$root\E}{}r);
}

my @only = split /,/, $ENV{F} // '';
my @chosen = grep { my $b = $_; !@only || grep { $b->{name} =~ /\Q$_\E/ } @only } @breaks;
my ($seed, @rows) = ($ENV{SEED} || 7);

# One fault in one installation: its row.
sub judge ($f, $name, $n) {
    my ($fault) = grep { $_->{name} eq $name } @Aegis::Faults::all;
    $f->{patience} = 30;
    return $f->seen($fault, $n);
}

# Another function is taken by a session that has not prepared the old one.
sub anew ($f) {
    $f->pg->do(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('aegis_gateway', 'aegis_worker')});
    wait_for('the gateway to have new sessions', 30, sub { $f->http->with->get('/readyz')->status == 200 });
    $f->stack->wait_worker($_) for $f->stack->roles;
}

{
    local $ENV{B} = "$built/faults";
    my $f = Aegis::Faults->new(seed => $seed);
    my %n = map { $_->{fault} => $_->{n} } @chosen;
    for my $name (sort keys %n) {
        my $row = judge($f, $name, $n{$name});
        is($row->{violations}, 0, sprintf 'not broken: %s x %d finds nothing, %.1f s', $name, $n{$name}, $row->{seconds}) or diag($f->{bad}[0]);
        push @rows, { fault => $name, break => '', %$row{qw(count violations seconds seed)} };
    }
    $f->stack->down;
}
for my $b (@chosen) {
    local $ENV{B} = ($b->{edit} ? copy_with($b->{edit}) : $built) . '/faults';
    my $f = Aegis::Faults->new(seed => $seed);
    is($f->pg->one('SELECT count(*) FROM aegis.ops_case'), 0, 'a database of its own');
    if (my $sql = $b->{sql}) { $f->pg->dbh->do(ref $sql ? $sql->($f) : $sql); anew($f) }
    my $row = judge($f, $b->{fault}, $b->{n});
    cmp_ok($row->{violations}, '>', 0, sprintf 'caught by %s x %d in %.1f s: %s', $b->{fault}, $b->{n}, $row->{seconds}, $b->{name});
    note("  $row->{violations} violations, first: ", substr $f->{bad}[0] // '', 0, 300);
    note("  last: ", substr $f->{bad}[-1] // '', 0, 300);
    push @rows, { fault => $b->{fault}, break => $b->{name}, %$row{qw(count violations seconds seed)}, first => $f->{bad}[0] };
    $_->{violations} += 0, $_->{seed} += 0 for @rows;
    $f->stack->down;
}
make_path(root . '/run');
spew(root . '/run/faults-oracle.json', json_encode(\@rows) . "\n");
done_testing;
