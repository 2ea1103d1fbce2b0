//! The meta commands, each as a script ([`crate::support::script`]).

use crate::support::{Client, shared};
use oxcached::stats::Counter;

scripts! {
nop "" r"
    > mn
    MN
    > mn any thing q
    MN
    > mnx
    ERROR
    > mx
    ERROR
    > mx noreply
    > mn
    MN
    > MN
    ERROR
"

malformed_lines "" r"
    > mg
    CLIENT_ERROR bad command line format
    > md
    CLIENT_ERROR bad command line format
    > ma
    CLIENT_ERROR bad command line format
    > me
    CLIENT_ERROR bad command line format
    > ms
    CLIENT_ERROR bad command line format
    > ms k
    CLIENT_ERROR bad command line format
    > ms k x
    CLIENT_ERROR bad command line format
    > ms k -1
    CLIENT_ERROR bad command line format
    > ms k 2147483646
    CLIENT_ERROR bad command line format
    > mg k ~
    CLIENT_ERROR bad command line format
    > mg k v !
    CLIENT_ERROR bad command line format
    > md k -
    CLIENT_ERROR bad command line format
    > ma k \x80
    CLIENT_ERROR bad command line format
    > me k ~
    CLIENT_ERROR bad command line format
    > mg L{251}
    CLIENT_ERROR bad command line format
    > mg L{250}
    EN
    > me L{251}
    CLIENT_ERROR bad command line format
"

the_value_after_a_malformed_line_is_read_as_a_line "" r"
    > ms k 2 ~
    CLIENT_ERROR bad command line format
    > mn
    MN
    > ms k 1 ~
    > ab
    CLIENT_ERROR bad command line format
    ERROR
"

invalid_flags "" r"
    > mg k v v
    CLIENT_ERROR duplicate flag
    > mg k Oa Ob
    CLIENT_ERROR duplicate flag
    > mg k S
    CLIENT_ERROR invalid flag
    > mg k 1
    CLIENT_ERROR invalid flag
    > mg k [
    CLIENT_ERROR invalid flag
    > mg k Tx
    CLIENT_ERROR bad token in command line format
    > mg k N
    CLIENT_ERROR bad token in command line format
    > mg k R2147483648
    CLIENT_ERROR bad token in command line format
    > mg k C-1
    CLIENT_ERROR bad token in command line format
    > mg k E18446744073709551616
    CLIENT_ERROR bad token in command line format
    > mg k F4294967296
    CLIENT_ERROR bad command line format
    > mg k Jx
    CLIENT_ERROR invalid numeric initial value
    > mg k D+1
    CLIENT_ERROR invalid numeric delta value
    > mg k Tx Jx Dx
    CLIENT_ERROR invalid numeric delta value
    > mg k Dx Fx
    CLIENT_ERROR invalid numeric delta value
    > mg k Tx S Jx
    CLIENT_ERROR invalid flag
    > mg k b
    CLIENT_ERROR error decoding key
    > mg k b Tx
    CLIENT_ERROR bad token in command line format
    > mg k q Tx
    CLIENT_ERROR bad token in command line format
    > mg k F1 I MI J1 D1 x P Lfoo
    EN
"

at_most_twenty_words "" r"
    > mg k v N0 R1 T0 l O P L k s t c f h u q x F1
    VA 0 l0 O kk s0 t-1 c2 f0 h0 W
    |
    > mg k v N0 R1 T0 l O P L k s t c f h u q x F1 I
    CLIENT_ERROR options flags are too long
"

opaques "" r"
    > mg k O
    EN O
    > mg k Oabcdefghijklmnopqrstuvwxyz01234
    EN Oabcdefghijklmnopqrstuvwxyz01234
    > mg k Oabcdefghijklmnopqrstuvwxyz012345
    CLIENT_ERROR opaque token too long
    > mg k q Oabcdefghijklmnopqrstuvwxyz012345
    CLIENT_ERROR opaque token too long
    > md k q Oabcdefghijklmnopqrstuvwxyz012345
    CLIENT_ERROR opaque token too long
    > ms k 1 q Oabcdefghijklmnopqrstuvwxyz012345
    > x
    CLIENT_ERROR opaque token too long
    > mg k N30 Oabcdefghijklmnopqrstuvwxyz012345 T60
    CLIENT_ERROR opaque token too long
    > mg k t h
    HD t30 h0
    > mg k T90 Oabcdefghijklmnopqrstuvwxyz012345 t
    CLIENT_ERROR opaque token too long
    > mg k t h
    HD t90 h1
    > ma n N0 Oabcdefghijklmnopqrstuvwxyz012345 q
    CLIENT_ERROR opaque token too long
    > ma n v
    VA 1
    1
"

return_flags_in_their_order "" r"
    > ms foo 2 T0 F5
    > hi
    HD
    > mg foo s f c v t k O1 h l
    VA 2 s2 f5 c2 t-1 kfoo O1 h0 l0
    hi
    > mg foo l h k t v c f s
    VA 2 l0 h1 kfoo t-1 c2 f5 s2
    hi
    > mg foo
    HD
    > mg nope k O1 s f c v t h l
    EN knope O1
    > mg nope q k
    > mg foo q k
    HD kfoo
    > mg foo P L v
    VA 2
    hi
"

values_before_the_access "" r"
    > ms a 1
    > x
    HD
    > mg a h l u
    HD h0 l0
    > mg a h
    HD h0
    > mg a h
    HD h1
    +5
    > mg a l t
    HD l5 t-1
    > mg a T30 t
    HD t30
    > mg a t T60
    HD t30
    > mg a t
    HD t60
    +60
    > mg a
    EN
"

the_time_of_the_access_of_a_popular_item "" r"
    > ms a 1
    > x
    HD
    > mg a l
    HD l0
    +5
    > mg a l
    HD l5
    +5
    > mg a l
    HD l5
    +30
    > mg a l h
    HD l30 h1
    +30
    > mg a l
    HD l60
    +1
    > mg a l
    HD l61
    > mg a l
    HD l0
"

vivify "" r"
    > mg a N-1 t
    HD t4294967235 W
    > mg a
    EN
    > mg a N30 t k O9 v s f c h l
    VA 0 t30 ka O9 s0 f0 c3 h0 l0 W
    |
    > mg a N60 t h
    HD t30 h1 Z
    > mg b N30 E99 c
    HD c99 W
    > mg b c
    HD c99 Z
    > mg c E0 N30 c
    HD c0 W
    > mg d T60 N30 t
    HD t30 W
    > mg e t N30 T60 t
    CLIENT_ERROR duplicate flag
    > mg e t N30 T60
    HD t-1 W
    > mg e t
    HD t60 Z
    > mg f N30 q
    HD W
    > ms g 1 c
    > x
    HD c7
"

recache "" r"
    > ms a 1 T100
    > x
    HD
    > mg a R100
    HD
    > mg a R101 t
    HD t100 W
    > mg a R101
    HD Z
    > mg a
    HD Z
    > ms a 1 T100
    > y
    HD
    > mg a T200 R150
    HD
    > mg a R150 T50
    HD
    > mg a R0
    HD
    > mg a R-1
    HD
    > mg a R51 v
    VA 1 W
    y
    > ms b 1
    > x
    HD
    > mg b R1000
    HD
"

conditional_fetch "" r"
    > ms a 1 c
    > x
    HD c2
    > mg a v C2 c
    HD c2
    > mg a v C3 c
    VA 1 c2
    x
    > mg a C0 v
    VA 1
    x
"

token_life_cycle "" r"
    > mg k N30 t v
    VA 0 t30 W
    |
    > mg k N30 t v
    VA 0 t30 Z
    |
    > ms k 1 T60 c
    > a
    HD c3
    > mg k v
    VA 1
    a
    > md k I T30
    HD
    > mg k v c t
    VA 1 c4 t30 X W
    a
    > mg k v
    VA 1 Z X
    a
    > get k
    VALUE k 0 1
    a
    END
    > ms k 1 C3 I c T90
    > b
    HD c5
    > mg k v t
    VA 1 t30 Z X
    b
    > ms k 1 C6 I
    > c
    EX
    > ms k 1 C5 I T0 c
    > d
    HD c7
    > mg k v t
    VA 1 t-1
    d
    > md k I q
    > mg k
    HD X W
    > md k I
    HD
    > mg k
    HD X W
    > gets k
    VALUE k 0 1 9
    d
    END
"

stale_store_keeps_a_long_ttl "" r"
    > ms k 1 T1999999999
    > a
    HD
    > md k I
    HD
    > ms k 1 C1 I T5
    > b
    HD
    > mg k t v
    VA 1 t999999937 X W
    b
"

store_modes "" r"
    > ms k 1 MR
    > a
    NS
    > ms k 1 MA
    > a
    NS
    > ms k 1 MP q
    > a
    NS
    > ms k 1 ME
    > a
    HD
    > ms k 1 ME
    > b
    NS
    > ms k 1 MA s c
    > b
    HD s2 c7
    > ms k 1 MP s c k Ox
    > c
    HD s3 c8 kk Ox
    > mg k v
    VA 3
    cab
    > ms k 1 MR s
    > r
    HD s1
    > ms k 1 MSfoo
    > s
    HD
    > ms k 1 Ms
    > s
    CLIENT_ERROR invalid mode for ms M token
    > ms k 1 M q
    > s
    CLIENT_ERROR invalid mode for ms M token
    > mg k v c
    VA 1 c10
    s
"

append_with_vivify "" r"
    > ms k 2 MA N30 T90 F7 s c
    > ab
    HD s2 c2
    > mg k t f v
    VA 2 t30 f7
    ab
    > ms k 2 MP N90 F9 s
    > cd
    HD s4
    > mg k t f v
    VA 4 t30 f7
    cdab
    > ms j 1 MP N0 C5
    > x
    HD
    > ms i 1 N30
    > x
    HD
    > mg i t
    HD t-1
"

compare_and_choose "" r"
    > ms k 1 C1
    > a
    NF
    > ms k 1 C1 MR
    > a
    NF
    > ms k 1 C1 MA
    > a
    NS
    > ms k 1 C1 ME c
    > a
    HD c5
    > ms k 1 C4 c
    > b
    EX c0
    > ms k 1 C0
    > b
    EX
    > ms k 1 C4 I c
    > b
    HD c8
    > ms k 1 C8 c E1099511627776
    > b
    HD c1099511627776
    > ms k 1 C8 MA
    > b
    EX
    > ms k 1 C1099511627776 MA c E18446744073709551615
    > b
    HD c18446744073709551615
    > ms k 1 C18446744073709551615 MR c
    > b
    HD c10
    > ms k 1 E0 c
    > b
    HD c11
    > gets k
    VALUE k 0 1 11
    b
    END
"

a_chosen_cas_id_stays_with_its_item "" r"
    > ms n 1 E500
    > 5
    HD
    > touch n 2000000
    TOUCHED
    > ma n E600 T1999999999 c t
    HD c600 t999999937
    > mg n c t v
    VA 1 c600 t999999937
    6
    > flush_all
    OK
    > mg n
    EN
    > ms n 1 E500
    > 7
    HD
    > mg n c
    HD c500
    > flush_all
    OK
    > mg n
    EN
    > ms m 1 E0
    > 7
    HD
    > mg m v
    VA 1
    7
    > ms m 1 c
    > 7
    HD c4
    > mg o N0 E9
    HD W
    > flush_all
    OK
    > mg o
    EN
    > ms o 1 c
    > 7
    HD c5
    > flush_all
    OK
    > ms o 1 E1
    > 7
    HD
    > flush_all
    OK
    > mg o
    EN
    > ms o 1 E1
    > 7
    HD
    > mg o
    HD
    > ms o 1 c
    > 7
    HD c6
"

store_errors "" r"
    > ms k 1
    > a
    HD
    > ms k 1 q
    > abc
    CLIENT_ERROR bad data chunk
    CLIENT_ERROR bad command line format
    > mg k v
    VA 1
    a
    > ms k 1 q
    > b
    > ms k 1 S
    > z
    CLIENT_ERROR invalid flag
    > ms k 2 F-1
    > zz
    CLIENT_ERROR bad command line format
    > ms k! 1 b
    > z
    CLIENT_ERROR error decoding key
    > ms L{251} 1
    > z
    CLIENT_ERROR bad command line format
    > ms k -
    >
    HD
    > mg k v
    VA 0
    |
"

a_too_large_value_removes_the_old_item "" r"
    > ms k 1
    > a
    HD
    > ms k 1048576 ME q
    > v{1048576}
    SERVER_ERROR object too large for cache
    > mg k
    EN
    > ms k 1048516
    > v{1048516}
    HD
    > ms k 1 MA s
    > x
    NS s1
    > mg k s
    HD s1048516
    > ms k 600000 MP
    > v{600000}
    NS
    > ms k 5000 s
    > v{5000}
    HD s5000
    > mg k v
    VA 5000
    v{5000}
"

delete "" r"
    > md k
    NF
    > md k q k O1
    NF kk O1
    > ms k 1
    > a
    HD
    > md k C1 q O5
    EX O5
    > md k C0
    EX
    > md k T30 k O7 C2
    HD kk O7
    > mg k
    EN
    > ms k 1
    > a
    HD
    > md k q
    > mg k
    EN
"

delete_to_empty_or_stale "" r"
    > ms k 2 F7 T90 c
    > ab
    HD c2
    > mg k
    HD
    > md k x
    HD
    > mg k v f c t s h
    VA 0 f0 c2 t-1 s0 h0
    |
    > md k x F9 T30 E77
    HD
    > mg k f c t
    HD f9 c77 t30
    > md k x I T60
    HD
    > mg k c t f
    HD c3 t60 f0 X W
    > md k I E88 T1999999999
    HD
    > mg k c t
    HD c88 t999999937 X W
    > md k I
    HD
    > mg k c t
    HD c4 t999999937 X W
    > md k x C4 q
    > mg k c
    HD c4
    > md j x
    NF
    > md j I q
    NF
"

arithmetic "" r"
    > ma n
    NF
    > ma n q k O1
    NF kn O1
    > ma n N0 J13 v t c
    VA 2 t-1 c2
    13
    > ma n v
    VA 2
    14
    > ma n D10 v
    VA 2
    24
    > ma n MD D20 v c
    VA 1 c5
    4
    > mg n v
    VA 2
    4\x20
    > ma n M- D9 v
    VA 1
    0
    > ma n M+ MI
    CLIENT_ERROR invalid or duplicate flag
    > ma n M+
    HD
    > ma n Mincr
    CLIENT_ERROR invalid mode for ma M token
    > ma n MIncr v
    VA 1
    2
    > ma n M
    CLIENT_ERROR invalid mode for ma M token
    > ma n D18446744073709551615 v
    VA 1
    1
    > ma n MD v D18446744073709551615 q
    > ma n q v
    > ma n v k O1
    VA 1 kn O1
    2
    > ma m N30 q v
    > mg m v t
    VA 1 t30
    0
"

arithmetic_on_a_padded_large_value "" r"
    > ms n 5000 T100
    > \x20{4990}79\x20{8}
    HD
    > ma n v t T50 E99 c
    VA 2 t100 c99
    80
    > mg n
    HD
    > ma n D0
    HD
    > mg n h
    HD h1
    > ma n D0 E99
    HD
    > mg n s v t c
    VA 5000 s5000 t50 c99
    80\x20{4998}
    > incr n 920
    1000
    > ms n 5000
    > 7\x20b{4998}
    HD
    > ma n MD v
    VA 1
    6
    > ms n 5000
    > b{5000}
    HD
    > ma n
    CLIENT_ERROR cannot increment or decrement non-numeric value
"

arithmetic_refuses "" r"
    > ms s 1
    > a
    HD
    > ma s q
    CLIENT_ERROR cannot increment or decrement non-numeric value
    > ms e 0
    >
    HD
    > ma e C9
    CLIENT_ERROR cannot increment or decrement non-numeric value
    > ma s C9
    EX
    > ma s C9 q k
    EX ks
    > ma s C0
    CLIENT_ERROR cannot increment or decrement non-numeric value
    > ma s Dx
    CLIENT_ERROR invalid or duplicate flag
    > ma s N
    CLIENT_ERROR invalid or duplicate flag
    > ma s S
    CLIENT_ERROR invalid or duplicate flag
    > ma L{251}
    CLIENT_ERROR invalid or duplicate flag
    > ma s b
    CLIENT_ERROR invalid or duplicate flag
"

arithmetic_with_time_and_cas "" r"
    > ms n 1 T100
    > 7
    HD
    > ma n t T500 c C2
    HD t100 c3
    > mg n t c
    HD t500 c3
    > ma n T50 t E9
    HD t50
    > mg n t c v
    VA 1 t50 c9
    9
    > ma n T500 E77 t c v
    VA 2 t500 c77
    10
    > mg n t c v
    VA 2 t50 c5
    10
    > ma i N30 E66 c t
    HD c66 t30
    > ma j t N30 T60
    HD t-1
    > mg j t
    HD t60
"

base64_keys "" r"
    > ms Zm9v 1 b k c
    > x
    HD kZm9v b c2
    > mg foo v
    VA 1
    x
    > mg foo k
    HD kZm9v b
    > mg Zm9v b k v
    VA 1 kZm9v b
    x
    > me foo
    ME Zm9v exp=-1 la=0 cas=2 fetch=yes cls=1 size=63
    > md Zm9v k b O1
    HD kZm9v b O1
    > md Zm9v k b
    NF kZm9v b
    > mg Zm9v k b
    EN kZm9v b
    > mg Zm9v
    EN
    > mg AAEC/w== b k N0
    HD k\x00\x01\x02\xff W
    > ms AAEC/w== 1 b q
    > 9
    > ma AAEC/w== b k v
    VA 2 kAAEC/w== b
    10
    > ms YQ== 1 k
    > y
    HD kYQ==
    > mg YQ b
    CLIENT_ERROR error decoding key
    > mg YQ== k
    HD kYQ==
"

inspect "" r"
    > ms a 1 T30 F1
    > x
    HD
    +3
    > me a
    ME a exp=27 la=3 cas=2 fetch=no cls=1 size=65
    > me a
    ME a exp=27 la=3 cas=2 fetch=no cls=1 size=65
    > mg a
    HD
    > me a q k
    ME a exp=27 la=0 cas=2 fetch=yes cls=1 size=65
    > me YQ== b
    EN
    > me YQ== b x
    ME a exp=27 la=0 cas=2 fetch=yes cls=1 size=65
    > me YQ b x
    CLIENT_ERROR bad command line format
    > me nope
    EN
"

without_cas_ids "-C" r"
    > ms a 1 c E5
    > x
    HD c0
    > mg a c v C0
    HD c0
    > mg a c v C2
    VA 1 c0
    x
    > ms a 1 C0
    > y
    EX
    > ms a 1 C2 MA
    > y
    HD
    > ms b 1 C2
    > y
    NF
    > md a C2
    EX
    > md a x C0
    HD
    > mg a c s
    HD c0 s0
    > mg n N0 E7 c
    HD c0 W
    > ma m N0 E7 c
    HD c0
    > ma m C5
    EX
    > ma m c
    HD c0
"

without_flush "-F" r"
    > ms a 1
    > x
    HD
    > flush_all
    CLIENT_ERROR flush_all not allowed
    > mg a
    HD
"

items_expire "" r"
    > ms a 1 T10
    > x
    HD
    > ms b 1 T-1
    > x
    HD
    > mg b
    EN
    +9
    > mg a t
    HD t1
    +1
    > mg a t
    EN
    > ma a
    NF
    > md a
    NF
    > me a
    EN
"
}

/// Counters of the commands; as in memcached, creating an item counts as a hit.
#[test]
fn counts() {
    let mut client = Client::new(&shared("-D :"));
    let requests: &[u8] = b"stats detail on\r\nmg p:a\r\nms p:a 1\r\nx\r\nmg p:a\r\nmg p:a T30\r\nmg p:b T30\r\n\
        mg p:c N30\r\nmg p:d N30 T30\r\nms p:a 1 C1\r\nx\r\nms p:z 1 C1\r\nx\r\nmd p:a C1\r\nmd p:a I\r\nmd p:a x\r\n\
        md p:a\r\nmd p:a\r\nma p:n\r\nma p:n MD\r\nma p:n N0\r\nma p:n\r\nma p:n MD\r\nme p:n\r\nme p:o\r\nmn\r\n";
    client.feed(requests);
    let totals = client.shared.stats.totals();
    for (counter, wanted) in [
        (Counter::GetCmds, 4),
        (Counter::GetMisses, 2),
        (Counter::TouchCmds, 2),
        (Counter::TouchMisses, 0),
        (Counter::DeleteMisses, 2),
        (Counter::IncrMisses, 1),
        (Counter::DecrMisses, 1),
        (Counter::CasMisses, 1),
        (Counter::MetaCmds, 2),
        (Counter::TotalItems, 5),
    ] {
        assert_eq!(totals.get(counter), wanted, "{counter:?}");
    }
    use oxcached::stats::ClassCounter::{CasBadval, DecrHits, DeleteHits, HitsHot, IncrHits, SetCmds, TouchHits};
    for (counter, wanted) in
        [(SetCmds, 3), (HitsHot, 2), (TouchHits, 2), (DeleteHits, 2), (IncrHits, 1), (DecrHits, 1), (CasBadval, 1)]
    {
        assert_eq!(totals.all_classes(counter), wanted, "{counter:?}");
    }
    client.got.clear();
    client.feed(b"stats detail dump\r\n");
    assert_eq!(client.got, b"END\r\n", "`stats detail` does not see meta commands");
}
