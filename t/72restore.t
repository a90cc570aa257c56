# 72restore.t: docs/operations.md's backup is one: a base backup and the archived
# WAL bring the database back as it was at a moment. What was committed before is
# there, what came later is gone, every invariant holds, the relay publishes what
# the bus has not, nothing acts twice although the bus remembers the lost time,
# and cases that were under way come to their end.
use v5.36;
use lib 't/lib';
use Test::More;
use File::Path qw(remove_tree);
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;

plan skip_all => 'half a minute: make restore-test' unless $ENV{AEGIS_T_RESTORE};

my $dir = scratch('backup');
my $wal = "$dir/wal";
mkdir $wal;
chmod 0777, $wal;
chmod 0777, $dir;
my $archive = root . '/deploy/backup/archive.sh';
my $stack = Aegis::Stack->own('restore', env => { PG_EXTRA_CONF => "wal_level = replica\narchive_mode = on\narchive_command = '$archive $wal %p %f'" });
my $pg = $stack->pg;
my $http = $stack->http;
my ($bin) = sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin';

my $effects = $stack->effect_file;
my $script = sub { $stack->add_script('t-effect.sh', "#!/bin/sh\nprintf '%s %s %s %s\\n' \"\$AEGIS_EXEC_ID\" \"\$AEGIS_PHASE\" \"\$AEGIS_STEP\" \"\$AEGIS_ATTEMPT\" >>$effects\n") };
$script->();
sub cases ($what, $n) { return map { Aegis::Case->create($http, title => "$what $_", tags => [$what], labels => { service => 's', env => 'staging', script => 't-effect.sh' }) } 1 .. $n }

my @before = cases('before-backup', 3);
$_->wait_state('CLOSED', 60) for @before;
run_ok([as_postgres("$bin/pg_basebackup", '-D', "$dir/base", '-d', $stack->e('DATABASE_ADMIN_URL') =~ s{/aegis$}{/postgres}r, '-X', 'stream', '-c', 'fast', '--no-sync')], cwd => '/');
my @kept = cases('kept', 4);
my $manual = Aegis::Case->create($http, title => 'under way', mode => 'manual');
$manual->must('start_analysis');
$_->wait_state('CLOSED', 60) for @kept;
$stack->quiet(60);
my $at = $pg->one('SELECT clock_timestamp()');
my $key = new_key('lost');
my @lost = cases('lost', 3);
my $moved = $manual->must('force_park', key => $key);
$_->wait_state('CLOSED', 60) for @lost;
$stack->quiet(60);
my $acts = () = slurp($effects) =~ /\n/g;
$pg->do('SELECT pg_switch_wal()');
my $last = $pg->one('SELECT pg_walfile_name(pg_current_wal_lsn())');
ok(wait_for('the WAL to be archived', 30, sub { ($pg->one('SELECT last_archived_wal FROM pg_stat_archiver') // '') ge substr($last, 0, 8) . '0' && $pg->one('SELECT failed_count FROM pg_stat_archiver') == 0 && !glob("$stack->{rundir}/pg/pg_wal/archive_status/*.ready") }), 'the WAL is archived');

# the disaster
$pg->disconnect;
delete $stack->{nats};
$stack->_script('down');
my $data = $stack->run_dir . '/pg';
rename $data, "$dir/old" or die $!;
run_ok([as_postgres(root . '/deploy/backup/restore.sh', "$dir/base", $wal, "$dir/restored", $at)], cwd => '/');
like(run([as_postgres(root . '/deploy/backup/restore.sh', "$dir/base", $wal, "$dir/restored", $at)], cwd => '/')->{err}, qr/is not empty/, 'restore.sh writes over nothing');
my $p = start_process('restored', [as_postgres("$bin/postgres", '-D', "$dir/restored")], cwd => '/', stop => 'INT');
ok(wait_for('the recovery to end', 60, sub { my $d = $pg->connect; my $r = $d->selectrow_array('SELECT pg_is_in_recovery()::int'); $d->disconnect; $r == 0 }), "restored to $at") or diag(slurp($p->{log}));
is($pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE tags @> '["kept"]'}), 4, 'what was committed before is there');
is($pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE tags @> '["lost"]'}), 0, 'what came later is not');
is($pg->one('SELECT status FROM aegis.ops_case WHERE case_id = ?', $manual->id), 'ANALYZING', 'a case is where it was');
# what had not been marked as published at that moment is published again
$pg->do('UPDATE aegis.outbox SET published_at = NULL WHERE case_id = ANY (?)', [ map { $_->id } @kept ]);
my $again = $pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL');
$pg->disconnect;
stop_process($p);
rename "$dir/restored", $data or die $!;
$stack->_script('up');
$stack->_read_env;
$script->();        # up.sh has put the shipped ones there

cmp_ok($again, '>', 20, "$again messages are to be published again");
ok(wait_for('them to be published', 60, sub { $pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL') == 0 }), 'they are');
$http = $stack->http;
my $r = $manual->say('force_park', key => $key);
is($r->status, 200, 'a key of the lost time acts again') or diag($r->brief);
is($r->header('idempotent-replayed'), undef, 'as a first time');
my @after = cases('after', 3);
is((grep { !$_->wait_state('CLOSED', 60) } @after), 0, 'new cases are driven to their end');
ok($stack->quiet(90), 'everything is consumed');
my $acted = () = slurp($effects) =~ /\n/g;
is($acted, $acts + 3, 'nothing acted twice');
my $inv = Aegis::Invariants->new($pg->connect);
$inv->check(only => [qw(I01 I02 I03 I04 I10 I11 I12 I13)]);
$stack->finish(allow => [qr/./]);
done_testing;
