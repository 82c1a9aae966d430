;; Insertion sort of pseudo-random words: a loop that ends early; then a sum that depends on the order.
(module
  (memory 1)
  (func (export "run") (param $n i32) (result f64)
    (local $i i32) (local $j i32) (local $x i32) (local $seed i32) (local $sum i32)
    (local.set $n (i32.mul (local.get $n) (i32.const 150)))
    (local.set $seed (i32.const 12345))
    (block $sorted
      (loop $insert
        (br_if $sorted (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1103515245)) (i32.const 12345)))
        (local.set $x (i32.shr_u (local.get $seed) (i32.const 16)))
        (local.set $j (local.get $i))
        (block $place
          (loop $move
            (br_if $place (i32.eqz (local.get $j)))
            (br_if $place (i32.le_u
              (i32.load (i32.shl (i32.sub (local.get $j) (i32.const 1)) (i32.const 2))) (local.get $x)))
            (i32.store (i32.shl (local.get $j) (i32.const 2))
              (i32.load (i32.shl (i32.sub (local.get $j) (i32.const 1)) (i32.const 2))))
            (local.set $j (i32.sub (local.get $j) (i32.const 1)))
            (br $move)))
        (i32.store (i32.shl (local.get $j) (i32.const 2)) (local.get $x))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $insert)))
    (local.set $i (i32.const 0))
    (block $done
      (loop $add
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (i32.load (i32.shl (local.get $i) (i32.const 2)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $add)))
    (f64.convert_i32_u (local.get $sum))))
