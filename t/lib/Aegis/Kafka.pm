# Aegis::Kafka: a Kafka broker for a suite: a real one (KRaft, its jars resolved by
# maven into t/kafka/libs) where java, maven and a registry are at hand, else
# librdkafka's mock cluster as a process of its own.
# Invariant: which of the two it is, is said by kind(), and the suite says it.
package Aegis::Kafka;

use v5.36;
use Test::More ();
use Aegis::Def;
use Aegis::Test;

# brokers: how many a mock has (1). sasl => [tls folder, user, password]: a real one
# that wants both; there is no mock of it.
sub new ($class, %opt) {
    my $self = bless { n => $opt{brokers} // 1, sasl => $opt{sasl} }, $class;
    my $why = $self->_real;
    die "no Kafka with SASL: $why\n" if $why && $opt{sasl};
    $self->_mock($why) if $why;
    return $self;
}

# '' when a real broker runs, else why not.
sub _real ($self) {
    return 'AEGIS_T_KAFKA=mock' if ($ENV{AEGIS_T_KAFKA} // '') eq 'mock';
    return 'java is not installed' unless have('java');
    my $dir = root . '/t/kafka';
    my $libs = $ENV{AEGIS_KAFKA_LIBS} // "$dir/libs";
    if (!glob "$libs/kafka_2.13-*.jar") {
        return 'maven is not installed' unless have('mvn');
        # into a copy: the clone may not be ours to write into
        my $copy = scratch('kafka-jars');
        spew("$copy/pom.xml", slurp("$dir/pom.xml"));
        my $r = run(['mvn', '-q', '-B', 'dependency:copy-dependencies'], cwd => $copy, timeout => 240);
        return 'maven cannot resolve the broker here: ' . (($r->{out} . $r->{err}) =~ /(\[ERROR\][^\n]{0,200})/ ? $1 : $r->{rc})
            if $r->{rc} ne '0';
        $libs = "$copy/libs";
    }
    my ($port, $controller) = (free_port(), free_port());
    my $data = scratch('kafka');
    $self->{proc} = start_process('kafka', ["$dir/start.sh", $data, $port, $controller, $self->{sasl} ? (free_port(), @{ $self->{sasl} }) : ()], env => { AEGIS_KAFKA_LIBS => $libs });
    my ($jar) = glob "$libs/kafka_2.13-*.jar";
    $self->{brokers} = "127.0.0.1:$port";
    $self->{kind} = 'a real Kafka broker (KRaft), ' . ($jar =~ s{.*/(.*)\.jar}{$1}r);
    return '' if wait_for('Kafka to answer', 60, sub {
        die slurp($self->{proc}{log}) if !alive($self->{proc}{pid});
        run(['kcat', '-L', '-m', '2', $self->_client], timeout => 5)->{rc} eq '0';
    });
    stop_process($self->{proc});
    return 'the broker did not start: ' . substr slurp($self->{proc}{log}), -500;
}

# How kcat gets in.
sub _client ($self) {
    return ('-b', $self->{brokers}) if !$self->{sasl};
    my ($tls, $user, $password) = @{ $self->{sasl} };
    return ('-b', $self->{brokers}, map { ('-X', $_) } 'security.protocol=sasl_ssl', "ssl.ca.location=$tls/ca.pem",
        'sasl.mechanism=SCRAM-SHA-512', "sasl.username=$user", "sasl.password=$password");
}

sub _mock ($self, $why) {
    my $bin = build_dir . '/t/tools/kafka_mock';
    -x $bin or die "$bin is missing: run make tools\n";
    my @topics = map { $_->[0] } grep { $_->[0] =~ /^evt\./ } def_rows('subjects', 'AEGIS_SUBJECT');
    # it runs until its input ends
    my $fifo = scratch() . '/kafka-mock.in';
    POSIX::mkfifo($fifo, 0600) or die "mkfifo: $!";
    $self->{proc} = start_process('kafka-mock', ['sh', '-c', 'exec "$@" <"$0"', $fifo, $bin, "-$self->{n}", @topics]);
    open $self->{hold}, '>', $fifo or die "$fifo: $!";
    my $line = wait_for('the mock to say its address', 20, sub { slurp($self->{proc}{log}) =~ /^((?:127\.0\.0\.1:\d+,?)+)$/m ? $1 : undef })
        or die slurp($self->{proc}{log});
    $self->{brokers} = $line;
    $self->{kind} = "librdkafka's mock cluster, not a real broker, because: $why";
    $self->{mock} = 1;
}

# What t/tools/kafka_mock.c obeys.
sub say ($self, $line) {
    die "a real broker does not obey\n" unless $self->{mock};
    my $n = syswrite $self->{hold}, "$line\n";
    die "kafka_mock: $!" unless $n;
}

sub brokers ($self) { return $self->{brokers} }
sub kind ($self) { return $self->{kind} }
sub is_mock ($self) { return $self->{mock} }

# Lines "<topic> <partition> <offset> <value>" of everything under evt.
sub dump ($self) {
    my $out = '';
    for my $row (def_rows('subjects', 'AEGIS_SUBJECT')) {
        next unless $row->[0] =~ /^evt\./;
        my $r = run(['kcat', '-C', '-q', '-e', '-o', 'beginning', $self->_client, '-t', $row->[0], '-f', '%t %p %o %s\n'], timeout => 60);
        die "kcat $row->[0]: $r->{err}" if $r->{rc} ne '0' && $r->{err} !~ /Unknown topic/;
        $out .= $r->{out};
    }
    return $out;
}

1;
