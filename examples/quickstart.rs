//! The shortest way from nothing to a loop that is optimised while it runs.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, UserFuncName, types::I64};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use regraft::{Config, Engine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(Config::default())?;

    // fn squares(n) { sum = 0; for i in 0..n { sum += i * i }; sum }
    let mut signature = Signature::new(engine.isa().default_call_conv());
    signature.params.push(AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    let mut func = Function::with_name_signature(UserFuncName::testcase("squares"), signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let [entry, head, body, done] = std::array::from_fn(|_| b.create_block());
    b.append_block_params_for_function_params(entry);
    let n = b.block_params(entry)[0];
    let (i, sum) = (b.append_block_param(head, I64), b.append_block_param(head, I64));
    b.switch_to_block(entry);
    let zero = b.ins().iconst(I64, 0);
    b.ins().jump(head, &[zero.into(), zero.into()]);
    b.switch_to_block(head);
    let more = b.ins().icmp(IntCC::UnsignedLessThan, i, n);
    b.ins().brif(more, body, &[], done, &[]);
    b.switch_to_block(body);
    let square = b.ins().imul(i, i);
    let one = b.ins().iconst(I64, 1);
    let (next_sum, next_i) = (b.ins().iadd(sum, square), b.ins().iadd(i, one));
    b.ins().jump(head, &[next_i.into(), next_sum.into()]);
    b.switch_to_block(done);
    b.ins().return_(&[sum]);
    b.seal_all_blocks();
    b.finalize(engine.isa().frontend_config());

    let squares = engine.define_function(func)?;
    let squares = engine.get::<(u64,), u64>(squares)?;
    // SAFETY: the code above touches no memory.
    println!("squares(300000000) = {}", unsafe { squares.call((300_000_000,)) });

    for region in &engine.report().functions["squares"].regions {
        println!("region at {}: {}, {:.1}% of the function", region.header, region.part.state, region.share * 100.0);
        println!("  in:  {:?}", region.live_ins.iter().map(|live| &*live.value).collect::<Vec<_>>());
        println!("  out: {:?}", region.live_outs.iter().map(|live| &*live.value).collect::<Vec<_>>());
        println!("  entered {} times, {} times while its loop was running", region.entries, region.entries_while_running);
    }
    Ok(())
}
