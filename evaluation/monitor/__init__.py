"""An independent safety monitor: it judges the signal states that SUMO recorded against the net file alone.

    python -m evaluation.monitor NET STATES [--tls ID ...] [--json]

STATES is what SUMO writes for `<timedEvent type="SaveTLSStates" dest="FILE"/>`. Exit status: 0 no finding,
1 findings, 2 bad input. A state holds from its `time` for one step. What is checked (links i and j conflict
when the junction's table makes them foes, when they enter one lane, or, on two junctions of one signal, when
their centre lines cross; never when they leave one lane):

* `conflicting_greens`: i and j both G; G against a g that does not yield to it; two g of which neither
  yields; any two of these where neither turns nor merges (two streets, a street and its crossing). A link
  index shared by connections that conflict with each other counts as such a pair.
* `unyielding_turn_on_red`: s against a G that it does not yield to, against a g when neither yields, or
  against either when it does not turn.
* `missing_yellow`, `short_yellow`, `aborted_yellow` (y, then green again), `yellow_without_green` (r, then
  y): a vehicle link that loses green shows y for `yellow_s` without a break, with `deceleration_mps2` for as
  long as its speed limit asks for. A crossing ends without yellow.
* `short_min_green`: a vehicle link's green, G and g taken together, is shorter than `min_green_s`;
  `short_walk`: a crossing's, than `walk_s`.
* `green_against_yellow`: j starts while i still shows the yellow that ended its green.
* `short_red_clearance`, `short_pedestrian_clearance`: j starts sooner after the end of i's yellow (or walk)
  than `net.clearance_s` asks for. To start is to turn green, or to turn from g to G against an i
  that j has yielded to until then: a turn that waited for gaps must not be released into a foe's tail.
* `short_protection_change`: i went from G to g, and a j that i has to yield to starts before i has shown g
  for `yellow_s` plus its red clearance (a crossing: its clearance). Vehicles that entered under G must
  be able to leave, as after a yellow.

What was on display when the recording began or ended is not judged for its length; o and O (switched off)
are not green, but a green that starts next to them is judged only after they have ended.
"""
