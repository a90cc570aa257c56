# Aegis::Pg: a throw-away PostgreSQL cluster, and statements on any database.
# Invariant: a cluster made here runs in the test's scratch folder on a UNIX
# socket of its own, and is stopped with the test. Aegis::Stack attaches to the
# cluster of a whole installation with attach().
package Aegis::Pg;

use v5.36;
use DBI ();
use Aegis::Test;

# A new, empty cluster with fsync off. args: conf => extra lines; port.
sub new ($class, %args) {
    my ($bin) = sort { $b cmp $a } glob '/usr/lib/postgresql/*/bin';
    die "no PostgreSQL server is installed\n" unless $bin && -x "$bin/initdb";
    my $dir = scratch('pg' . ($args{name} // ''));
    my $data = "$dir/data";
    mkdir $data;
    if ($> == 0) {
        my ($uid, $gid) = (getpwnam 'postgres')[2, 3];
        chown $uid, $gid, $dir, $data;
    }
    run_ok([as_postgres("$bin/initdb", '-D', $data, '-U', 'postgres', '-A', 'trust',
            '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync', '--no-instructions')], cwd => '/');
    open my $conf, '>>', "$data/postgresql.conf" or die $!;
    print $conf "listen_addresses = ''\nunix_socket_directories = '$dir'\n"
        . "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = 64MB\n"
        . "max_connections = 60\nautovacuum = off\nlog_min_messages = warning\n"
        . ($args{conf} // '');
    close $conf;
    my $self = bless { dir => $dir, data => $data, bin => $bin, host => $dir, port => $args{port} // 5432,
                       superuser => 'postgres', own => 1 }, $class;
    $self->start;
    return $self;
}

# A cluster that somebody else runs: host, port, superuser.
sub attach ($class, %args) { return bless {%args}, $class }

sub start ($self) {
    $self->{proc} = start_process('postgres',
        [as_postgres("$self->{bin}/postgres", '-D', $self->{data})], cwd => '/',
        log => "$self->{dir}/postgres.log", stop => 'INT');      # TERM waits for every client
    wait_for('PostgreSQL to accept connections', 30, sub {
        my $dbh = $self->_connect('postgres', $self->{superuser});
        $dbh && $dbh->disconnect;
        $dbh;
    }) or die "PostgreSQL did not start:\n" . slurp("$self->{dir}/postgres.log");
}

sub stop ($self, $signal = 'INT') {
    my $p = delete $self->{proc} or return;
    stop_process($p, $signal);
}

sub _connect ($self, $db, $user) {
    return DBI->connect("dbi:Pg:dbname=$db;host=$self->{host};port=$self->{port}", $user,
        $self->{password} // '', { RaiseError => 1, PrintError => 0, AutoCommit => 1,
            pg_enable_utf8 => 0, AutoInactiveDestroy => 1 });
}

# A connection of its own. args: db, user.
sub connect ($self, %args) {
    return $self->_connect($args{db} // 'aegis', $args{user} // $self->{superuser});
}

# The superuser's connection, kept.
sub dbh ($self, $db = 'aegis') {
    my $d = $self->{dbh}{$db};
    return $d if $d && $d->ping;
    return $self->{dbh}{$db} = $self->_connect($db, $self->{superuser});
}

sub disconnect ($self) {
    $_->disconnect for values %{ delete $self->{dbh} // {} };
}

sub dsn ($self, $db = 'aegis', $user = undef) {
    $user //= $self->{superuser};
    return "host=$self->{host} port=$self->{port} dbname=$db user=$user";
}

sub do ($self, $sql, @bind) { return $self->dbh->do($sql, undef, @bind) }

sub one ($self, $sql, @bind) {
    my $row = $self->dbh->selectrow_arrayref($sql, undef, @bind);
    return $row ? $row->[0] : undef;
}

sub row ($self, $sql, @bind) { return $self->dbh->selectrow_hashref($sql, undef, @bind) }

sub rows ($self, $sql, @bind) {
    return $self->dbh->selectall_arrayref($sql, { Slice => {} }, @bind);
}

# Run a file with psql, all of it or nothing.
sub psql_file ($self, $file, %args) {
    my $r = run(['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-1', '-d',
                 $self->dsn($args{db} // 'aegis', $args{user}),
                 ($args{role} ? ('-c', "SET ROLE $args{role}") : ()), '-f', $file]);
    die "psql -f $file: $r->{err}" if $r->{rc} ne '0';
    return $r->{out};
}

# The schema without aegisctl, in the order that its runner keeps.
sub load_schema ($self) {
    my $sql = root . '/sql';
    $self->dbh('postgres')->do('CREATE DATABASE aegis');
    $self->psql_file("$sql/roles.sql");
    $self->do('ALTER DATABASE aegis OWNER TO aegis_migrator');
    my %as = (role => 'aegis_migrator');
    $self->psql_file($_, %as) for sort glob "$sql/migrations/*.sql";
    $self->psql_file($_, %as) for grep { !/90_grants/ } sort glob "$sql/functions/*.sql";
    $self->psql_file($_, %as) for sort glob "$sql/generated/*.sql";
    $self->psql_file("$sql/functions/90_grants.sql", %as);
    $self->do('SELECT aegis.maintain()');
}

# One number per table that changes with any change of the product's data: row
# counts and a hash over every row, so that "nothing changed" is a fact. That the
# relay has published a row, or has found a case at rest, is not a change; nor is
# how far the analyst and a sensor's lane are, and that the analyst has answered.
sub fingerprint ($self, %args) {
    my @where = defined $args{case_id} ? ($args{case_id}) : ();
    my %sum;
    for my $t (@{ $self->{tables} //= $self->dbh->selectcol_arrayref(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = 'aegis' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND c.relname !~ '^(audit_|analyst_(mark|series|state)\$|ingest_lane\$)'
              ORDER BY 1") }) {
        my $has_case = $self->{has_case}{$t} //= $self->one(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'aegis'
              AND table_name = ? AND column_name = 'case_id'", $t);
        next if @where && !$has_case;
        my $answer = $t eq 'analyst_run' ? q{ - 'state' - 'done_at' - 'findings' - 'opened'} : '';
        $sum{$t} = $self->one("SELECT count(*) || ':' || coalesce(sum(hashtextextended((to_jsonb(x)
            - 'published_at' - 'settled'$answer)::text, 0)::numeric), 0) FROM aegis.$t x" . (@where ? ' WHERE case_id = ?' : ''), @where);
    }
    return \%sum;
}

# The names of the tables in which two fingerprints differ. The librarian's are not
# looked at: it works on its own time, on closed cases too; t/48kb.t looks at them.
sub changed ($before, $after) {
    return grep { !/^kb_/ } grep { ($before->{$_} // '') ne ($after->{$_} // '') } sort keys %{ { %$before, %$after } };
}

1;
