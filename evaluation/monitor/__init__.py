"""An independent safety monitor: it judges the signal states that SUMO recorded against the network's files alone.

    python -m evaluation.monitor NET STATES [--tls ID ... | --all-signals] [--additional FILE ...] [--json]

STATES is what SUMO writes for `<timedEvent type="SaveTLSStates" dest="FILE"/>`. Exit status: 0 no finding,
1 findings, 2 bad input. A state holds from its `time` for one step.

Judged are the signals that were controlled from outside: the recording says which program each of them ran. Where
none was, or with --all-signals, all are, those of railways apart. A link index below 0 is none.

What is checked (links i and j conflict when the junction's table makes them foes, when they enter one lane, or, on
two junctions of one signal, when their centre lines cross; never when they leave one lane, nor where the table names
one of the two alone as the other's foe, one is for trams or bicycles alone, and their vehicles do not touch):

* `conflicting_greens`: i and j both G; G against a g that does not yield to it; two g of which neither
  yields; any two of these where neither turns nor merges (two streets, a street and its crossing). A link
  index shared by connections that conflict with each other counts as such a pair.
* `unyielding_turn_on_red`: s against a G that it does not yield to, against a g when neither yields, or
  against either when it does not turn.
* `missing_yellow`, `short_yellow`, `aborted_yellow` (y, then green again), `yellow_without_green` (r, then
  y): a vehicle link that loses green shows y for `yellow_s` without a break, for as long as the network's own
  program, and with `deceleration_mps2` for as long as its speed asks for. A crossing ends without yellow.
* `short_min_green`: a vehicle link's green, G and g taken together, is shorter than `min_green_s`;
  `short_walk`: a crossing's, than `walk_s`.
* `green_against_yellow`: j starts while i still shows the yellow that ended its green.
* `short_red_clearance`, `short_pedestrian_clearance`: j starts sooner after the end of i's yellow (or walk)
  than `links.clearance_s` asks for, or than the network's own program keeps. To start is to turn green, or to turn
  from g to G against an i that j has yielded to until then: a turn that waited for gaps must not be released into a
  foe's tail.
* `short_protection_change`: i went from G to g, and a j that i has to yield to starts before i has shown g
  for `yellow_s` plus its red clearance (a crossing: its clearance). Vehicles that entered under G must
  be able to leave, as after a yellow.

Speed and length, for (W + L)/V, are of who may use all lanes of a way: bicycles alone leave at no more than 20 km/h,
rail-bound vehicles alone have the length of the longest of them by SUMO's defaults; all others the speed limit of
the approach and `vehicle_length_m`.

The network's own program is the one that SUMO loads last, from the net, the additional files that the recording
names, and --additional; of a signal that a WAUT switches, what all its programs keep. What it keeps:

* yellow of a link: its longest one.
* clearance from i to j: the longest time from the end of i's yellow (of a walk or a green without yellow: its end)
  until j starts, where j is among the first of i's foes that start then; of a pair that the program never shows so,
  the longest over i's other foes. Rows in between that serve others are no clearance: no foe with priority is green
  in them, who is green stays so, and who starts does so less than `min_green_s` before j. Only vehicles beside a
  walk may go on and end later, since walks are cleared so; but a longer time than the slowest need, at 0.63 m/s, is
  none.
* a program of type NEMA names both: `yellow` and `red` of a phase are of all links that it serves (of a link in
  several phases the least).

What was on display when the recording began or ended is not judged for its length; o and O (switched off)
are not green, but a green that starts next to them is judged only after they have ended.
"""
