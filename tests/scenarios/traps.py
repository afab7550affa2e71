"""The traps of mirroring without a queue: which scenarios walk into each, and which deliberate
faults show that they would notice.

A trap is what a plausible design runs into. Its scenarios pass on the model and on the gateware;
each fault, put into either, turns the scenario beside it red.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_model.mutations import Mutation


@dataclass(frozen=True)
class Trap:
    """One trap; each of ``faults`` turns one of ``scenarios`` red. ``gateware`` says what is
    different there."""

    name: str
    scenarios: tuple[str, ...]
    faults: dict[Mutation, str]
    gateware: str = ""


TRAPS = (
    Trap("A time-out gives a group up while a later one is in flight",
         ("a_time_out_sends_the_same_group_again", "a_group_sent_again_grows_by_nothing"),
         {Mutation.RESENT_GROUP_GROWS: "a_group_sent_again_grows_by_nothing"}),
    Trap("A late acknowledgement clears flags of newer data",
         ("overlapping_groups_t1_to_t5_then_t50",
          "groups_commit_in_sequence_whatever_arrives_first", "links_share_the_load_and_reorder"),
         {Mutation.STATUS_NOT_MATCHED: "groups_commit_in_sequence_whatever_arrives_first"}),
    Trap("Duplicate or stale data frames",
         ("a_group_sent_again_while_it_commits", "duplicates_do_not_make_a_group_whole",
          "links_share_the_load_and_reorder"),
         {Mutation.DUPLICATE_COUNTED: "duplicates_do_not_make_a_group_whole",
          Mutation.SEQUENCE_NOT_CHECKED: "links_share_the_load_and_reorder"}),
    Trap("Flags set after sending",
         ("a_collision_in_flight_sends_nothing_twice",),
         {Mutation.PACKET_NOT_SET: "a_collision_in_flight_sends_nothing_twice"}),
    Trap("The colliding track is already in flight",
         ("a_collision_in_flight_sends_nothing_twice",
          "a_volume_waits_for_the_group_that_holds_its_track"),
         {Mutation.PACKET_NOT_SET: "a_collision_in_flight_sends_nothing_twice",
          Mutation.RECONNECT_WRONG_GROUP: "a_volume_waits_for_the_group_that_holds_its_track"}),
    Trap("A chain writes one track twice",
         ("a_chain_that_writes_a_track_twice",),
         {Mutation.FIRST_WRITE_WINS: "a_chain_that_writes_a_track_twice",
          Mutation.END_OF_CHAIN_DROPPED: "a_chain_that_writes_a_track_twice"}),
    Trap("A chain spans sets",
         ("a_chain_that_spans_sets_is_refused",),
         {Mutation.SPAN_NOT_CHECKED: "a_chain_that_spans_sets_is_refused"}),
    Trap("A chain longer than the limit, or than free slots",
         ("chains_up_to_the_limit_and_one_more", "a_full_cache_refuses_before_any_effect"),
         {Mutation.LIMIT_NOT_CHECKED: "chains_up_to_the_limit_and_one_more"},
         gateware="on the gateware the free list always has slots for a longest chain when one "
                  "begins; tests/hdl/test_chain.py empties it"),
    Trap("Two chains half done wait for each other",
         ("malformed_writes_abort_the_chain_whole", "an_unfinished_chain_is_not_sent"),
         {Mutation.ABORT_COMMITS: "malformed_writes_abort_the_chain_whole"}),
    Trap("Pending data is written over",
         ("the_seeds_three_chains_in_one_set", "pending_data_outlives_the_turnover_of_the_cache"),
         {Mutation.PENDING_NOT_SET: "the_seeds_three_chains_in_one_set",
          Mutation.SLOT_FREED_WHILE_PENDING: "pending_data_outlives_the_turnover_of_the_cache"}),
    Trap("Target staging fills with half groups",
         ("a_volume_waits_for_the_group_that_holds_its_track",),
         {Mutation.STAGING_NOT_RESERVED: "a_volume_waits_for_the_group_that_holds_its_track"}),
    Trap("The link that carries a set's packets dies",
         ("one_link_is_enough", "links_cut_in_the_middle",
          "lost_commit_status_costs_nothing_but_time"),
         {Mutation.LOSS_NOT_REWOUND: "links_cut_in_the_middle"}),
    Trap("Corrupt packet, later packets arrive first",
         ("groups_commit_in_sequence_whatever_arrives_first", "damaged_frames_are_sent_again",
          "links_share_the_load_and_reorder"),
         {Mutation.SEQUENCE_NOT_CHECKED: "links_share_the_load_and_reorder",
          Mutation.CRC_NOT_CHECKED: "damaged_frames_are_sent_again"}),
    Trap("The target is reset in the middle of committing a chain",
         ("a_reset_in_the_middle_of_a_commit",
          "a_group_that_was_partly_visible_is_not_counted_twice"),
         {Mutation.COMMIT_NOT_FINISHED: "a_reset_in_the_middle_of_a_commit",
          Mutation.CHAINS_COUNTED_TWICE: "a_reset_in_the_middle_of_a_commit"}),
    Trap("The target restarts",
         ("a_target_that_keeps_its_memory_goes_on", "a_target_reset_again_and_again",
          "a_blank_target_begins_from_the_first_chain",
          "a_target_that_lost_its_memory_is_resynchronised",
          "a_moved_volume_is_resynchronised_with_its_new_set"),
         {Mutation.LOST_TARGET_BEGUN: "a_target_that_lost_its_memory_is_resynchronised",
          Mutation.SCAN_SKIPS_TRACKS: "a_target_that_lost_its_memory_is_resynchronised"}),
    Trap("The source restarts, its table lost",
         ("a_source_that_keeps_its_memory_sends_everything_again",
          "a_source_that_lost_its_memory_is_followed_all_the_same", "a_torn_target_says_so",
          "both_sides_lose_their_memory", "a_resynchronisation_that_is_interrupted_begins_again"),
         {Mutation.RESYNC_NOT_MARKED: "a_source_that_keeps_its_memory_sends_everything_again",
          Mutation.RESYNCED_EARLY: "a_torn_target_says_so"}),
    Trap("Frames of a former life arrive in a new one",
         ("late_frames_of_a_former_life_are_not_heard",),
         {Mutation.OLD_SESSIONS_KEPT: "late_frames_of_a_former_life_are_not_heard"}),
    Trap("Read, modify, write of a table in block RAM",
         ("a_collision_in_flight_sends_nothing_twice",),
         {Mutation.UPDATE_LOST: "a_collision_in_flight_sends_nothing_twice"},
         gateware="the lock is proved in tests/formal and tried in tests/hdl/test_metadata.py"),
    Trap("Storms of retries",
         ("an_orderly_run_sends_nothing_twice",),
         {Mutation.STATUS_REWINDS: "an_orderly_run_sends_nothing_twice"}),
)


def shown_by() -> dict[Mutation, str]:
    """The scenario that each fault turns red: where several are named, the first."""
    found: dict[Mutation, str] = {}
    for trap in TRAPS:
        for fault, name in trap.faults.items():
            found.setdefault(fault, name)
    return found
