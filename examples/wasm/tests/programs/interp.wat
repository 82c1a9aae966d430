;; A machine with an accumulator and a counter, whose program lies in memory: br_table in a loop.
;; 0 add k; 1 xor k; 2 multiply by k; 3 shift left by k; 4 decrement the counter, and jump to k unless it is 0; 5 halt.
(module
  (memory 1)
  (data (i32.const 0) "\00\07\02\03\01\55\03\01\00\01\04\00\05\00")
  (func (export "run") (param $n i32) (result f64)
    (local $pc i32) (local $acc i32) (local $counter i32) (local $k i32)
    (local.set $counter (i32.mul (local.get $n) (i32.const 500)))
    (if (i32.eqz (local.get $counter)) (then (return (f64.const 0))))
    (loop $dispatch
      (local.set $k (i32.load8_u offset=1 (local.get $pc)))
      (block $halt
        (block $loop
          (block $shift
            (block $multiply
              (block $xor
                (block $add
                  (br_table $add $xor $multiply $shift $loop $halt (i32.load8_u (local.get $pc))))
                (local.set $pc (i32.add (local.get $pc) (i32.const 2)))
                (local.set $acc (i32.add (local.get $acc) (local.get $k)))
                (br $dispatch))
              (local.set $pc (i32.add (local.get $pc) (i32.const 2)))
              (local.set $acc (i32.xor (local.get $acc) (local.get $k)))
              (br $dispatch))
            (local.set $pc (i32.add (local.get $pc) (i32.const 2)))
            (local.set $acc (i32.mul (local.get $acc) (local.get $k)))
            (br $dispatch))
          (local.set $pc (i32.add (local.get $pc) (i32.const 2)))
          (local.set $acc (i32.shl (local.get $acc) (local.get $k)))
          (br $dispatch))
        (local.set $pc (i32.add (local.get $pc) (i32.const 2)))
        (local.set $counter (i32.sub (local.get $counter) (i32.const 1)))
        (if (local.get $counter) (then (local.set $pc (local.get $k))))
        (br $dispatch)))
    (f64.convert_i32_u (local.get $acc))))
