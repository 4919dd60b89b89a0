//! Every limit of the federation, with its unit. What must hold between them is checked at compile time.

/// Largest canonical record payload, bytes.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Largest op as stored and sent (header, signature, payload), bytes.
pub const OP_BYTES_MAX: usize = RECORD_BYTES_MAX + 4 * 1024;
/// Longest op type name, bytes.
pub const OP_TYPE_BYTES_MAX: usize = 64;
/// Longest actor name in an op, bytes.
pub const ACTOR_BYTES_MAX: usize = 128;
/// Ops in one batch on the wire.
pub const BATCH_OPS_MAX: usize = 256;
/// Bytes in one batch on the wire; one op always fits.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Batches a sender may have in flight without a receipt.
pub const BATCHES_IN_FLIGHT_MAX: u32 = 2;
/// Largest gRPC message either side decodes, bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages above this are worth compressing, bytes.
pub const COMPRESS_ABOVE_BYTES: usize = 1024;
/// Probes a hello may carry.
pub const PROBES_MAX: usize = 64;
/// Probes in one search for the common ancestor: twice as many positions squared cover a million ops in two calls.
pub const ANCESTOR_PROBES_MAX: usize = 1024;
/// Ops of one tail that a node gives up: what a district may have written while it was apart.
pub const ARCHIVED_OPS_MAX: u64 = 1_000_000;
/// Tails of one feed in the archive; more are a person's business.
pub const ARCHIVED_TAILS_MAX: usize = 64;
/// Receipts a node keeps as evidence.
pub const RECEIPTS_MAX: usize = 1024;
/// A hub that recovers waits so long for news of its own feed before it goes on by itself, milliseconds: a node may
/// come that mirrors more of it than all that came before.
pub const RECOVERY_QUIET_MS: i64 = 5_000;
/// A hub that was started decides nothing by itself before a node has shown that its feed is not an old one, or so long
/// when none comes, milliseconds.
pub const RECOVERY_LISTEN_MS: u64 = 30_000;
/// Withdrawals that may go before their turn in one message.
pub const URGENT_OPS_MAX: usize = 64;
/// Outcomes in one acknowledgement.
pub const OUTCOMES_MAX: usize = 1024;
/// Longest reason or explanation on the wire, bytes.
pub const EXPLAIN_BYTES_MAX: usize = 2 * 1024;
/// Nodes that may catch up in bulk at the same time; live tails always go on.
pub const BULK_CATCH_UPS_MAX: usize = 4;
/// A node further behind than this is catching up in bulk, ops.
pub const BULK_ABOVE_OPS: u64 = 1024;
/// Pause asked of a node that must wait for its turn, milliseconds.
pub const BUSY_RETRY_MS: u32 = 1_000;
/// Clock difference between node and hub that is reported, milliseconds.
pub const SKEW_WARN_MS: i64 = 5 * 60 * 1000;
/// Room that a node keeps for its journal on a disk that fills, bytes: some thousand edits.
pub const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// Heartbeat of an idle node, milliseconds.
pub const HEARTBEAT_MS: u64 = 10_000;
/// A stream without any message for this long is dead, milliseconds.
pub const SILENCE_MS: u64 = 3 * HEARTBEAT_MS;
/// Size of a journal segment before a new one is begun, bytes.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Ops folded in one view transaction: small, because the engine's lock is one for the whole process.
pub const FOLD_OPS_MAX: usize = 100;
/// Ops indexed between two commits of the search index.
pub const INDEX_OPS_MAX: usize = 1_000;
/// The same while a feed that keeps up waits for its turn.
pub const INDEX_OPS_LIVE: usize = 50;
/// Records on one page of a list.
pub const PAGE_RECORDS_MAX: usize = 1_000;
/// Hits on one page of a search.
pub const PAGE_HITS_MAX: usize = 100;
/// Furthest hit that paging by offset reaches.
pub const OFFSET_MAX: usize = 10_000;
/// Furthest record that paging by offset reaches for programs, which read everything.
pub const HARVEST_OFFSET_MAX: usize = 10_000_000;
/// Longest query, characters.
pub const QUERY_CHARS_MAX: usize = 256;
/// Longest query expression, characters. Parsing costs time in proportion.
pub const EXPR_CHARS_MAX: usize = 8_192;
/// Parentheses within parentheses of a query expression.
pub const EXPR_DEPTH_MAX: usize = 32;
/// Conditions of a query expression.
pub const EXPR_CLAUSES_MAX: usize = 256;
/// Conditions of a query expression that compare with a pattern: each reads all values of its label.
pub const EXPR_PATTERNS_MAX: usize = 16;
/// Longest word of the search's vocabulary, characters.
pub const WORD_CHARS_MAX: usize = 32;
/// Words in the search's vocabulary: they fit into one op.
pub const VOCABULARY_WORDS_MAX: usize = 600;
/// Clauses of a query that must all match; more are left out and the answer says so.
pub const QUERY_CLAUSES_MAX: usize = 32;
/// Terms that one wildcard stands for at most.
pub const WILDCARD_TERMS_MAX: usize = 1_024;
/// Values of one facet in an answer.
pub const FACET_VALUES_MAX: usize = 1_000;
/// Copies of one datum that are shown with a hit.
pub const COPIES_MAX: usize = 64;
/// Changes on one page of the change feed.
pub const CHANGES_PAGE_MAX: usize = 1_000;
/// Suggestions for what is being typed.
pub const SUGGESTIONS_MAX: usize = 10;
/// Longest-lived join token, seconds.
pub const TOKEN_TTL_SECS_MAX: u64 = 30 * 24 * 3600;
/// Join token when nothing else is said, seconds.
pub const TOKEN_TTL_SECS: u64 = 24 * 3600;
/// Certificate when nothing else is said, seconds.
pub const CERTIFICATE_TTL_SECS: u64 = 90 * 24 * 3600;
/// Records that a district may withdraw, hide, rename or date ahead at a time before the hub asks a person.
pub const MASS_RECORDS: u32 = 50;
/// Share of a district's live records that it may change so before the hub asks, percent.
pub const MASS_PERCENT: u32 = 10;
/// The share counts from so many records on: three of twenty are no mass.
pub const MASS_RECORDS_MIN: u32 = 10;
/// Ops that are looked back over for a mass change.
pub const MASS_WINDOW_OPS: u64 = 1_000;
/// Ops further apart than this by their author's clock are not one change, milliseconds.
pub const MASS_WINDOW_MS: i64 = 24 * 3600 * 1000;
/// An op dated further ahead of the hub's clock than this has a clock that jumped, milliseconds.
pub const CLOCK_JUMP_MS: i64 = 24 * 3600 * 1000;
/// Records named in a held change; the rest is counted.
pub const GATE_SAMPLE_MAX: usize = 50;
/// Pause between two checkpoints of the city when nothing else is said, seconds.
pub const CHECKPOINT_SECS: u64 = 300;
/// Quiet after a change before the next checkpoint, milliseconds.
pub const CHECKPOINT_QUIET_MS: u64 = 1_000;
/// Rows of the city that a follower's stream reads at a time.
pub const FOLLOW_RECORDS: usize = 64;
/// Leaves in one answer to an audit; a bucket is always whole.
pub const LEAVES_MAX: usize = 32_768;
/// Buckets whose leaves a node asks for at a time.
pub const AUDIT_BUCKETS: usize = 16;
/// Rows that a replica takes in one write.
pub const REPLICA_ROWS_MAX: usize = 1_000;
/// How long a replica gathers rows for one write, milliseconds.
pub const REPLICA_GATHER_MS: u64 = 200;
/// The same while the city sends many rows, as when a district catches up: a write costs nearly the same for one row as
/// for all.
pub const REPLICA_GATHER_MANY_MS: u64 = 2_000;
/// So many rows in one write are many.
pub const REPLICA_ROWS_MANY: usize = 50;
/// Longest resource code that is granted to a record, characters. The national ones have about thirty.
pub const CODE_CHARS_MAX: usize = 64;
/// Codes in one op that grants them.
pub const CODES_PER_GRANT_MAX: usize = 128;
// JSON of one grant: the code, whose characters have up to 6 bytes, a record id and the signs around them.
const _: () = assert!(CODES_PER_GRANT_MAX * (CODE_CHARS_MAX * 6 + 66) <= RECORD_BYTES_MAX);
/// Conflicts that the hub opens in one round; the next round goes on.
pub const CONFLICTS_PER_ROUND_MAX: usize = 128;
/// Claimants of one code beside its holder that become conflicts; a code that more records name is no code.
pub const CLAIMS_PER_NAME_MAX: usize = 16;
/// Topics that the hub looks at in one round.
pub const TOPICS_PER_ROUND_MAX: usize = 2_000;
/// Records of one district with invalid ops that are conflicts of their own; more become one for the district.
pub const REJECTED_RECORDS_MAX: usize = 64;
/// Longest text of a curator (title, reason, notes), characters.
pub const CURATION_CHARS_MAX: usize = 2_000;
/// Keywords of an overlay.
pub const CURATION_KEYWORDS_MAX: usize = 64;
/// Ops of a feed that are looked back over for an earlier version of a record.
pub const HISTORY_OPS_MAX: u64 = 20_000;
/// Conflicts, requests or holds on one page of a list.
pub const DESK_PAGE_MAX: usize = 200;
/// Working days in which a district answers a request when no other day is said.
pub const REQUEST_WORKING_DAYS: u32 = 10;
/// Records in one transfer: their names fit into one op.
pub const TRANSFER_RECORDS_MAX: usize = 800;
/// Share of the rows of a full list that may vanish without a person's word, percent.
pub const DELETE_SHARE_MAX_PERCENT: usize = 10;
/// Number of rows of a full list that may vanish without a person's word.
pub const DELETE_ROWS_MAX: usize = 50;
/// Characters of a title that the search for duplicates reads.
pub const DUPLICATE_TITLE_CHARS_MAX: usize = 256;
/// An abstract of more characters explains and is not compared with another.
pub const DUPLICATE_SUMMARY_CHARS_MAX: usize = 48;
/// Information items of a record that the search for duplicates reads.
pub const DUPLICATE_ITEMS_MAX: usize = 512;
/// A 2-gram that more records of one territory have leads to no duplicates.
pub const DUPLICATE_POSTING_MAX: usize = 4_096;
/// Duplicates of one record that are reported, the strongest first.
pub const DUPLICATE_CANDIDATES_MAX: usize = 64;

const _: () = assert!(OP_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(TRANSFER_RECORDS_MAX * 64 <= RECORD_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + OP_BYTES_MAX <= MESSAGE_BYTES_MAX / 2);
const _: () = assert!(BATCH_BYTES_MAX as u64 <= SEGMENT_BYTES_MAX);
const _: () = assert!(LEAVES_MAX * 80 <= MESSAGE_BYTES_MAX);
const _: () = assert!(OUTCOMES_MAX * 512 <= MESSAGE_BYTES_MAX);
