;; Mixes words with rotates and additions, in straight lines, over a table in memory.
(module
  (memory 1)
  (func (export "run") (param $n i32) (result f64)
    (local $i i32) (local $a i32) (local $b i32) (local $at i32)
    (local.set $a (i32.const 0x6a09e667))
    (local.set $b (i32.const 0xbb67ae85))
    (local.set $n (i32.mul (local.get $n) (i32.const 3000)))
    (loop $fill
      (i32.store (i32.shl (local.get $i) (i32.const 2)) (i32.mul (local.get $i) (i32.const 0x9e3779b1)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 64))))
    (local.set $i (i32.const 0))
    (block $done
      (loop $round
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $at (i32.shl (i32.and (local.get $i) (i32.const 63)) (i32.const 2)))
        (local.set $a (i32.add (i32.rotl (local.get $a) (i32.const 5)) (i32.xor (local.get $b) (i32.load (local.get $at)))))
        (local.set $b (i32.xor (i32.rotr (local.get $b) (i32.const 11)) (local.get $a)))
        (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $b)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $round)))
    (f64.convert_i32_u (i32.xor (local.get $a) (local.get $b)))))
