# 74deploy.t: what deploy/ ships can be read by what it is for: units by systemd
# (and how exposed they leave a host), keepalived's and NATS's configuration, the
# compose file by Compose's own loader, the chart by helm and Kubernetes' schemas.
# What is not installed is said; make deploy-test fetches it. Nothing is started.
use v5.36;
use lib 't/lib';
use Test::More;
use YAML::XS ();
use Aegis::Test;

my $deploy = root . '/deploy';
my ($roles) = slurp("$deploy/quickstart/lib.sh") =~ /^ALL_ROLES="([^"]+)"/m;

subtest 'units' => sub {
    plan skip_all => 'systemd-analyze is not installed' unless have('systemd-analyze');
    for my $role (split / /, $roles) {
        my $dir = scratch("units-$role");
        my $unit = "$dir/aegis-worker\@$role.service";
        spew($unit, slurp("$deploy/systemd/aegis-worker\@.service"));
        if (my ($conf) = glob "$deploy/systemd/aegis-worker\@$role.service.d/*.conf") {
            mkdir "$unit.d";
            spew("$unit.d/role.conf", slurp($conf));
        }
        my $r = run(['systemd-analyze', 'security', '--offline=true', '--threshold=20', $unit], env => { SYSTEMD_PAGER => '' });
        my ($level) = $r->{out} =~ /exposure level for \S+: ([\d.]+)/;
        plan skip_all => "this systemd-analyze cannot do it offline: $r->{err}" unless defined $level;
        cmp_ok($level, '<=', 2.0, "the worker of $role is exposed by $level");
    }
    my $target = slurp("$deploy/systemd/aegis.target");
    is(join(' ', sort $target =~ /aegis-worker\@(\w+)\.service/g), join(' ', sort split / /, $roles), 'the target wants each role that the quick start runs');
    if (have('systemd-sysusers')) {
        my $r = run(['systemd-sysusers', '--dry-run', "--root=" . scratch('root'), "$deploy/sysusers.d/aegis.conf"]);
        is($r->{rc}, 0, 'systemd-sysusers reads the user') or diag($r->{err});
    }
};

subtest 'keepalived' => sub {
    plan skip_all => 'keepalived is not installed' unless have('keepalived');
    my $dir = scratch('keepalived');
    my $conf = spew("$dir/k.conf", slurp("$deploy/ha/keepalived.conf") =~ s{/usr/lib/aegis/check-gateway.sh}{/bin/true}r =~ s{interface         eth0}{interface         lo}r);
    chmod 0644, $conf;
    for my $host (qw(app-a app-b)) {
        my $r = run(['keepalived', '-t', '-i', $host, '-f', $conf]);
        is($r->{rc}, 0, "$host: it has nothing to say") or diag($r->{out} . $r->{err});
    }
};

subtest 'nats-server' => sub {
    plan skip_all => 'nats-server is not installed' unless have('nats-server');
    my $dir = scratch('nats');
    my $text = slurp("$deploy/ha/nats.conf") =~ s{^\s*(?:cert_file|key_file|ca_file|verify):.*\n}{}mgr =~ s{tls \{\s*\}}{}gr;
    my $r = run(['nats-server', '-t', '-c', spew("$dir/nats.conf", $text)], env => { NATS_NAME => 'n1', NATS_PASSWORD => 'a', NATS_CLUSTER_PASSWORD => 'b' });
    is($r->{rc}, 0, 'reads it') or diag($r->{out} . $r->{err});
};

subtest 'Patroni' => sub {
    my $y = YAML::XS::Load(slurp("$deploy/ha/patroni/patroni.yml"));
    my %ha = slurp("$deploy/ha/postgresql/aegis-ha.conf") =~ /^(\w+) = '?([^'\n#]*?)'?\s*(?:#.*)?$/mg;
    my $p = $y->{bootstrap}{dcs}{postgresql}{parameters};
    is_deeply([ grep { exists $ha{$_} && $ha{$_} ne $p->{$_} } sort keys %$p ], [], 'its settings are those of the example without it');
    ok($y->{bootstrap}{dcs}{synchronous_mode}, 'commits wait for the standby');
    my @hba = map { join ' ', split } grep { !/map=patroni$/ } @{ $y->{postgresql}{pg_hba} };     # its own
    is_deeply(\@hba, [ map { join ' ', split } grep { /^\w/ } split /\n/, slurp("$deploy/ha/postgresql/pg_hba.conf") ], 'and who may come in');
};

subtest 'compose' => sub {
    my $file = "$deploy/compose/compose.yaml";
    my $y = YAML::XS::Load(slurp($file));
    my %known = map { $_ => { map { $_ => 1 } keys %{ $y->{$_} } } } qw(secrets configs networks volumes services);
    my @bad;
    for my $name (sort keys %{ $y->{services} }) {
        my $s = $y->{services}{$name};
        push @bad, map { "$name: no secret $_" } grep { !$known{secrets}{$_} } @{ $s->{secrets} // [] };
        push @bad, map { "$name: no config $_->{source}" } grep { !$known{configs}{ $_->{source} } } @{ $s->{configs} // [] };
        push @bad, map { "$name: no service $_" } grep { !$known{services}{$_} } keys %{ $s->{depends_on} // {} };
        push @bad, map { "$name: no volume $_" } grep { !m{^[./]} && !$known{volumes}{$_} } map { /^([^:]+):/ ? $1 : () } @{ $s->{volumes} // [] };
    }
    is_deeply(\@bad, [], 'it names nothing that it does not have');
    is_deeply([ grep { my $f = $_; !-e "$deploy/compose/$f" } map { $_->{file} // () } values %{ $y->{configs} } ], [], 'its files are there');
    SKIP: {
        skip 'make deploy-test', 1 unless $ENV{AEGIS_COMPOSE_GO};
        my $r = run([$ENV{AEGIS_COMPOSE_GO}, $file]);
        is($r->{rc}, 0, 'Compose loads it, by its schema and its own rules') or diag($r->{err});
    }
};

subtest 'helm' => sub {
    my $helm = $ENV{AEGIS_HELM} // have('helm');
    plan skip_all => 'helm is not installed: make deploy-test' unless $helm;
    my $chart = "$deploy/helm/aegis";
    my @roles = grep { $_ ne 'sensor' } split / /, $roles;
    my $r = run([$helm, 'lint', '--strict', $chart]);
    is($r->{rc}, 0, 'helm lint') or diag($r->{out} . $r->{err});
    for my $set ('', 'gateway.tlsSecret=t,nats.secret=n,policy=a: b', 'sensor.enabled=false,migrate.enabled=false') {
        $r = run([$helm, 'template', 'x', $chart, '--kube-version', '1.30.0', $set ? ('--set', $set) : ()]);
        is($r->{rc}, 0, "it can be rendered ($set)") or diag($r->{err});
        my @docs = YAML::XS::Load($r->{out});
        my %d = map { $_->{metadata}{name} => $_->{spec}{template}{spec} } grep { ref $_ && $_->{kind} eq 'Deployment' } @docs;
        is_deeply([ sort keys %d ], [ sort map { "x-$_" } 'gateway', @roles ], 'a gateway and each role');
        is(scalar(grep { $_->{name} eq 'sensor' } @{ $d{'x-gateway'}{containers} }), $set =~ /sensor/ ? 0 : 1, 'the sensor is beside the gateway, if wanted');
        SKIP: {
            skip 'make deploy-test', 1 unless $ENV{AEGIS_KUBE_VALIDATE};
            my $v = run([$ENV{AEGIS_KUBE_VALIDATE}, '-k', '1.30', '--strict', spew(scratch('chart') . '/all.yaml', $r->{out})]);
            is($v->{rc}, 0, "Kubernetes' own schemas allow it") or diag($v->{out} . $v->{err});
        }
        is_deeply([ map { "$_->{kind} $_->{metadata}{name}" } grep { ref $_ && $_->{kind} =~ /^(?:Deployment|Job)$/
            && grep { !$_->{securityContext}{readOnlyRootFilesystem} } @{ $_->{spec}{template}{spec}{containers} } } @docs ], [], 'no container writes to its root');
    }
};

done_testing;
