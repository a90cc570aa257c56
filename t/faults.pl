# faults.pl: the campaign of faults as a program: `make faults`, `make faults-full`.
# Prints TAP and the seed, and records what was seen in run/faults.json (JSON=).
# Environment: LEVEL (some, full), F (names, blanks between them; all when empty),
# SEED, ROLE (role-points of one role only), N (how often, whatever the level says),
# RATE, SIDE and TURNS (F13: requests a second, seconds before and after, how often), CASES (F17), HOW (F15: fatal, lead, ...).
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Test;

BEGIN { $ENV{B} = build_dir . '/faults' }
use Aegis::Faults;
use Aegis::Faults::Around;
use Aegis::Faults::Carry;
use Aegis::Faults::Database;
use Aegis::Faults::Gateway;
use Aegis::Faults::Signals;
use Aegis::Faults::Workers;

my $level = $ENV{LEVEL} || 'some';
my $f = Aegis::Faults->new(seed => $ENV{SEED} || undef);
my @only = split ' ', $ENV{F} // '';
my $file = $ENV{JSON} || root . '/run/faults.json';
$f->run_all($level, @only);
$f->record($file, $level);
done_testing;
